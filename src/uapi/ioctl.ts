/**
 * ioctl numbers of KVM on x86 (linux/kvm.h; asm-generic/ioctl.h for their make-up). A number is direction, size of
 * the argument, the type 0xAE and a number of its own, so a row names the struct and the number follows.
 */
import type { Struct } from "./layout.ts";
import * as S from "./structs.ts";

const KVMIO = 0xae;
const DIRECTION = { none: 0, write: 1, read: 2, both: 3 } as const;

/** _IOC(): direction 31:30, size 29:16, type 15:8, number 7:0. */
function ioc(direction: keyof typeof DIRECTION, number: number, bytes: number): number {
	return ((DIRECTION[direction] << 30) | (bytes << 16) | (KVMIO << 8) | number) >>> 0;
}
const io = (number: number) => ioc("none", number, 0);
const ior = (number: number, layout: Struct) => ioc("read", number, layout.bytes);
const iow = (number: number, layout: Struct) => ioc("write", number, layout.bytes);
const iowr = (number: number, layout: Struct) => ioc("both", number, layout.bytes);

// biome-ignore format: one row an ioctl
export const IOCTL = {
	// ---- on /dev/kvm ----
	KVM_GET_API_VERSION:          io(0x00),
	KVM_CREATE_VM:                io(0x01),
	KVM_GET_MSR_INDEX_LIST:       iowr(0x02, S.kvmMsrList),
	KVM_CHECK_EXTENSION:          io(0x03),
	KVM_GET_VCPU_MMAP_SIZE:       io(0x04),
	KVM_GET_SUPPORTED_CPUID:      iowr(0x05, S.kvmCpuid2),
	KVM_GET_MSR_FEATURE_INDEX_LIST: iowr(0x0a, S.kvmMsrList),
	// ---- on a VM ----
	KVM_CREATE_VCPU:              io(0x41),
	KVM_GET_DIRTY_LOG:            iow(0x42, S.kvmDirtyLog),
	KVM_SET_USER_MEMORY_REGION:   iow(0x46, S.kvmUserspaceMemoryRegion),
	KVM_SET_TSS_ADDR:             io(0x47),
	KVM_SET_IDENTITY_MAP_ADDR:    ioc("write", 0x48, 8),
	KVM_CREATE_IRQCHIP:           io(0x60),
	KVM_IRQ_LINE:                 iow(0x61, S.kvmIrqLevel),
	KVM_GET_IRQCHIP:              iowr(0x62, S.kvmIrqchip),
	KVM_SET_IRQCHIP:              ior(0x63, S.kvmIrqchip),
	KVM_REGISTER_COALESCED_MMIO:  iow(0x67, S.kvmCoalescedMmioZone),
	KVM_UNREGISTER_COALESCED_MMIO: iow(0x68, S.kvmCoalescedMmioZone),
	KVM_IRQFD:                    iow(0x76, S.kvmIrqfd),
	KVM_CREATE_PIT2:              iow(0x77, S.kvmPitConfig),
	KVM_SET_BOOT_CPU_ID:          io(0x78),
	KVM_IOEVENTFD:                iow(0x79, S.kvmIoeventfd),
	KVM_SET_CLOCK:                iow(0x7b, S.kvmClockData),
	KVM_GET_CLOCK:                ior(0x7c, S.kvmClockData),
	KVM_GET_PIT2:                 ior(0x9f, S.kvmPitState2),
	KVM_SET_PIT2:                 iow(0xa0, S.kvmPitState2),
	KVM_SIGNAL_MSI:               iow(0xa5, S.kvmMsi),
	// ---- on a vCPU ----
	KVM_RUN:                      io(0x80),
	KVM_GET_REGS:                 ior(0x81, S.kvmRegs),
	KVM_SET_REGS:                 iow(0x82, S.kvmRegs),
	KVM_GET_SREGS:                ior(0x83, S.kvmSregs),
	KVM_SET_SREGS:                iow(0x84, S.kvmSregs),
	KVM_TRANSLATE:                iowr(0x85, S.kvmTranslation),
	KVM_INTERRUPT:                iow(0x86, S.kvmInterrupt),
	KVM_GET_MSRS:                 iowr(0x88, S.kvmMsrs),
	KVM_SET_MSRS:                 iow(0x89, S.kvmMsrs),
	KVM_SET_SIGNAL_MASK:          iow(0x8b, S.kvmSignalMask),
	KVM_GET_FPU:                  ior(0x8c, S.kvmFpu),
	KVM_SET_FPU:                  iow(0x8d, S.kvmFpu),
	KVM_GET_LAPIC:                ior(0x8e, S.kvmLapicState),
	KVM_SET_LAPIC:                iow(0x8f, S.kvmLapicState),
	KVM_SET_CPUID2:               iow(0x90, S.kvmCpuid2),
	KVM_GET_CPUID2:               iowr(0x91, S.kvmCpuid2),
	KVM_GET_MP_STATE:             ior(0x98, S.kvmMpState),
	KVM_SET_MP_STATE:             iow(0x99, S.kvmMpState),
	KVM_NMI:                      io(0x9a),
	KVM_SET_GUEST_DEBUG:          iow(0x9b, S.kvmGuestDebug),
	KVM_GET_VCPU_EVENTS:          ior(0x9f, S.kvmVcpuEvents),
	KVM_SET_VCPU_EVENTS:          iow(0xa0, S.kvmVcpuEvents),
	KVM_GET_DEBUGREGS:            ior(0xa1, S.kvmDebugregs),
	KVM_SET_DEBUGREGS:            iow(0xa2, S.kvmDebugregs),
	KVM_SET_TSC_KHZ:              io(0xa2),
	KVM_ENABLE_CAP:               iow(0xa3, S.kvmEnableCap),
	KVM_GET_TSC_KHZ:              io(0xa3),
	KVM_GET_XSAVE:                ior(0xa4, S.kvmXsave),
	KVM_SET_XSAVE:                iow(0xa5, S.kvmXsave),
	KVM_GET_XCRS:                 ior(0xa6, S.kvmXcrs),
	KVM_SET_XCRS:                 iow(0xa7, S.kvmXcrs),
	KVM_GET_ONE_REG:              iow(0xab, S.kvmOneReg),
	KVM_SET_ONE_REG:              iow(0xac, S.kvmOneReg),
	KVM_GET_REG_LIST:             iowr(0xb0, S.kvmRegList),
	KVM_SMI:                      io(0xb7),
	KVM_GET_XSAVE2:               ior(0xcf, S.kvmXsave),
} as const;

export type IoctlName = keyof typeof IOCTL;
