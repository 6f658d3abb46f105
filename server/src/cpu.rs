//! Whether this CPU can run this build at all.
//!
//! This code is compiled with the very instructions that it asks for, and the
//! compiler uses them for no more than copying a string. So there is nothing here
//! but numbers and pieces of text that are written one by one: no lists, no
//! formatting. A test runs the program on CPUs that lack them.

/// Whether the CPU lacks something that the build needs. If so, standard error
/// was told what.
pub fn is_too_old() -> bool {
    #[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
    let too_old = x86_64_v3::is_missing();
    #[cfg(not(all(target_arch = "x86_64", target_feature = "avx2")))]
    let too_old = false;
    too_old
}

#[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
mod x86_64_v3 {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    use std::io::Write as _;

    pub(super) fn is_missing() -> bool {
        let lacking = lacking();
        if lacking == 0 {
            return false;
        }
        say("weir: this weir is built for x86-64-v3 (2013 and later) and this CPU lacks");
        for (bit, name) in NAMES.iter().enumerate() {
            if lacking >> bit & 1 == 1 {
                say(" ");
                say(name);
            }
        }
        say("; build one for it with RUSTFLAGS=\"-C target-cpu=x86-64\" cargo build --release\n");
        true
    }

    #[inline(never)]
    fn say(text: &str) {
        // Where standard error is closed there is nobody to tell.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    /// What the level has beyond x86-64-v2, in the order of [`lacking`]'s bits.
    static NAMES: [&str; 9] = [
        "AVX", "AVX2", "BMI1", "BMI2", "F16C", "FMA", "LZCNT", "MOVBE", "OSXSAVE",
    ];

    /// A bit for each of [`NAMES`] that the CPU does not have.
    ///
    /// `is_x86_feature_detected!` is of no use here: in a build for x86-64-v3 the
    /// compiler answers it with "yes" before the CPU is asked.
    fn lacking() -> u32 {
        let (one, seven, extended) = (
            __cpuid(1).ecx,
            if __cpuid(0).eax >= 7 {
                __cpuid_count(7, 0).ebx
            } else {
                0
            },
            if __cpuid(0x8000_0000).eax > 0x8000_0000 {
                __cpuid(0x8000_0001).ecx
            } else {
                0
            },
        );
        let not = |register: u32, bit: u32, place: u32| (!register >> bit & 1) << place;
        not(one, 28, 0)
            | not(seven, 5, 1)
            | not(seven, 3, 2)
            | not(seven, 8, 3)
            | not(one, 29, 4)
            | not(one, 12, 5)
            | not(extended, 5, 6)
            | not(one, 22, 7)
            | not(one, 27, 8)
    }
}
