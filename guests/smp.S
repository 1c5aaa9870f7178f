# The other processors: from the startup IPI in real mode to 64-bit mode on the boot processor's tables, then ap_main().
	.section .text
	.globl ap_trampoline, ap_trampoline_end
	.code16
ap_trampoline:
	cli
	mov	%cs, %ax
	mov	%ax, %ds
	lgdtl	(ap_gdt - ap_trampoline)
	mov	%cr4, %eax
	or	$0x20, %eax
	mov	%eax, %cr4
	mov	$0x2000, %eax
	mov	%eax, %cr3
	mov	$0xc0000080, %ecx
	xor	%edx, %edx
	mov	$0x901, %eax
	wrmsr
	mov	$0x80010031, %eax
	mov	%eax, %cr0
	ljmpl	$0x08, $ap_long
ap_gdt:
	.word	0x27
	.long	0x1000
ap_trampoline_end:

	.code64
ap_long:
	mov	$0x10, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	mov	$1, %eax
	cpuid
	shr	$24, %ebx	# the initial APIC ID, which IPIs go by
	mov	%ebx, %edi
	mov	%edi, %eax
	shl	$12, %eax
	lea	ap_stacks(%rip), %rsp
	add	%rax, %rsp
	call	ap_main
1:	hlt
	jmp	1b

	.bss
	.balign 4096
ap_stacks:
	.space 4096 * 33
