# Entry of the long-mode guests. The VMM has set up paging (1 GiB and the APIC page, identity-mapped, user
# accessible), flat 64-bit segments and a stack; it passes:
#     RDI iterations   RSI flags   RDX XCR0 (0: leave)   RCX PKRU   R8 IA32_XSS (0: leave)
	.section .text.start, "ax"
	.globl _start
_start:
	cld
	mov	%rdi, params(%rip)
	mov	%rsi, params+8(%rip)
	mov	%rdx, params+16(%rip)
	mov	%rcx, params+24(%rip)
	mov	%r8, params+32(%rip)
	lea	params(%rip), %rdi
	call	guest_main
	mov	%eax, %edi
	call	guest_exit
1:	hlt
	jmp	1b

# The handler of every interrupt: counts it and ends it in the x2APIC.
	.globl interrupt_entry
interrupt_entry:
	push	%rax
	push	%rcx
	push	%rdx
	incl	interrupts(%rip)
	mov	$0x80b, %ecx
	xor	%eax, %eax
	xor	%edx, %edx
	wrmsr
	pop	%rdx
	pop	%rcx
	pop	%rax
	iretq

	.bss
	.balign 16
params:
	.space 40
