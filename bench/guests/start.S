/* Multiboot 1 entry for the benchmark programs: as 32-bit code without paging, or, built for x86-64, on into long mode
   with the first GiB identity-mapped by 2 MiB pages. main() runs once, and port 0xf4 ends the machine. */
	.section .multiboot, "a"
	.align 4
	.long 0x1badb002, 0, -0x1badb002

	.text
	.code32
	.globl _start
_start:
	movl $stack_top, %esp
#ifdef __x86_64__
	/* PML4 -> PDPT -> one directory of 512 pages of 2 MiB, present and writable. */
	movl $pdpt + 3, pml4
	movl $directory + 3, pdpt
	movl $0x83, %eax
	movl $directory, %edi
	movl $512, %ecx
1:	movl %eax, (%edi)
	addl $0x200000, %eax
	addl $8, %edi
	loop 1b
	movl %cr4, %eax
	orl $0x20, %eax
	movl %eax, %cr4
	movl $pml4, %eax
	movl %eax, %cr3
	movl $0xc0000080, %ecx
	rdmsr
	orl $0x100, %eax
	wrmsr
	movl %cr0, %eax
	orl $0x80000000, %eax
	movl %eax, %cr0
	lgdt gdt_pointer
	ljmp $8, $long_mode
	.code64
long_mode:
	movl $16, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	call main
#else
	call main
#endif
	movl $0xf4, %edx
	xorl %eax, %eax
	outl %eax, %dx
2:	hlt
	jmp 2b

#ifdef __x86_64__
	.align 8
gdt:	.quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
	.word 23
	.long gdt
#endif

	.bss
	.align 4096
#ifdef __x86_64__
pml4:	.skip 4096
pdpt:	.skip 4096
directory:
	.skip 4096
#endif
	.skip 65536
stack_top:

	.section .note.GNU-stack, "", @progbits
