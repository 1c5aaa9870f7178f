# A TD's first virtual CPU starts at FFFFFFF0H in flat 32-bit protected mode, without paging, with EFER.LME set by
# the TDX module. The VMM has written the parameters at FFFF8000H before the page became part of the TD.
	.section .params, "aw"
	.globl td_params
td_params:
	.space 40

	.section .reset, "ax"
	.code32
	.globl _reset
_reset:
	jmp	start32
	.balign 16

	.text
	.code32
start32:
	cld
	# One 2 MiB page, identity-mapped: FFE00000H to FFFFFFFFH.
	movl	$pdpt + 7, pml4
	movl	$pd + 7, pdpt + 3 * 8
	movl	$0xffe00000 + 0xe7, pd + 511 * 8
	lgdt	gdt_pointer
	mov	%cr4, %eax
	or	$0x20, %eax
	mov	%eax, %cr4
	movl	$pml4, %eax
	mov	%eax, %cr3
	mov	%cr0, %eax
	or	$0x80000000, %eax
	mov	%eax, %cr0
	ljmpl	$8, $start64

	.code64
start64:
	mov	$0x10, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	lea	stack_top(%rip), %rsp
	lea	td_params(%rip), %rdi
	call	guest_main
	mov	%eax, %edi
	call	guest_exit

	.section .rodata
	.balign 8
gdt:
	.quad 0
	.quad 0x00af9b000000ffff
	.quad 0x00cf93000000ffff
gdt_pointer:
	.word gdt_pointer - gdt - 1
	.long gdt

	.bss
	.balign 4096
pml4:	.space 4096
pdpt:	.space 4096
pd:	.space 4096
	.space 4096
stack_top:
