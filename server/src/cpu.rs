//! Whether this CPU can run this build at all.
//!
//! This code is compiled with the very instructions that it asks for, and the
//! compiler uses them for no more than copying a string. So there is nothing here
//! but numbers and pieces of text that are written one by one: no lists, no
//! formatting. A test runs the program on CPUs that lack them.

/// Whether the CPU lacks something that the build needs. If so, standard error
/// was told what.
pub fn is_too_old() -> bool {
    #[cfg(target_arch = "x86_64")]
    let too_old = x86_64::is_too_old();
    #[cfg(not(target_arch = "x86_64"))]
    let too_old = false;
    too_old
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    use std::io::Write as _;

    pub(super) fn is_too_old() -> bool {
        let lacking = lacking() & NEEDED;
        if lacking == 0 {
            return false;
        }
        say("weir: this CPU lacks");
        for (bit, name) in NAMES.iter().enumerate() {
            if lacking >> bit & 1 == 1 {
                say(" ");
                say(name);
            }
        }
        if lacking & OF_V2 == 0 {
            say(", and this weir is built for x86-64-v3 (2013 and later); build one for it with ");
            say("RUSTFLAGS=\"-C target-cpu=x86-64-v2\" cargo build --release\n");
        } else {
            say("; weir needs x86-64-v2 (2009 and later). A virtual machine may have to be given ");
            say("the model of its host's CPU\n");
        }
        true
    }

    #[inline(never)]
    fn say(text: &str) {
        // Where standard error is closed there is nobody to tell.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    /// What levels 2 and 3 of x86-64 have beyond level 1, in the order of
    /// [`lacking`]'s bits.
    static NAMES: [&str; 13] = [
        "SSSE3", "SSE4.1", "SSE4.2", "POPCNT", "AVX", "AVX2", "BMI1", "BMI2", "F16C", "FMA",
        "LZCNT", "MOVBE", "OSXSAVE",
    ];
    const OF_V2: u32 = 0b1111;
    /// Level 2 always: the decoder uses SSSE3 without asking.
    const NEEDED: u32 = if cfg!(target_feature = "avx2") {
        u32::MAX
    } else {
        OF_V2
    };

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
        not(one, 9, 0)
            | not(one, 19, 1)
            | not(one, 20, 2)
            | not(one, 23, 3)
            | not(one, 28, 4)
            | not(seven, 5, 5)
            | not(seven, 3, 6)
            | not(seven, 8, 7)
            | not(one, 29, 8)
            | not(one, 12, 9)
            | not(extended, 5, 10)
            | not(one, 22, 11)
            | not(one, 27, 12)
    }
}
