//! Whether this CPU can run this build at all.

/// What the CPU lacks, in words; `None` when the build fits it.
///
/// `is_x86_feature_detected!` is of no use here: in a build for x86-64-v3 the
/// compiler answers it with "yes" before the CPU is asked.
pub fn missing() -> Option<String> {
    #[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
    {
        use std::arch::x86_64::{__cpuid, __cpuid_count};
        let leaves = __cpuid(0).eax;
        let (one, seven) = (
            __cpuid(1).ecx,
            if leaves >= 7 {
                __cpuid_count(7, 0).ebx
            } else {
                0
            },
        );
        let needed = [
            ("FMA", one >> 12 & 1),
            ("AVX", one >> 28 & 1),
            ("AVX2", seven >> 5 & 1),
            ("BMI2", seven >> 8 & 1),
        ];
        let lacking: Vec<_> = needed
            .iter()
            .filter(|(_, has)| *has == 0)
            .map(|(name, _)| *name)
            .collect();
        if !lacking.is_empty() {
            return Some(format!(
                "this weir is built for x86-64-v3 (2013 and later) and this CPU lacks {}; \
                 build one for it with RUSTFLAGS=\"-C target-cpu=x86-64\" cargo build --release",
                lacking.join(", ")
            ));
        }
    }
    None
}
