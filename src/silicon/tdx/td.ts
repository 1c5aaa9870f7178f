export class TdVcpu { exitReason = 0; exitIntrInfo = 0; exitQualification = 0; xfam = 0; }
