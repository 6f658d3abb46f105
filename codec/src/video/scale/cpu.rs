//! Which instructions a scaler uses: chosen once, by what the CPU can do.

#[cfg(target_arch = "x86_64")]
use super::avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use super::avx512::Avx512;
#[cfg(target_arch = "aarch64")]
use super::neon::Neon;
use super::plane::Job;
use super::scalar::Scalar;

/// A set of instructions that scaling is written for. All give the same
/// samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuPath {
    /// Plain loops, as wide as the build's target allows.
    Scalar,
    /// x86-64 with AVX2.
    Avx2,
    /// x86-64 with AVX-512 F, BW and VNNI: from Ice Lake and Zen 4 on.
    Avx512,
    /// 64-bit ARM.
    Neon,
}

impl CpuPath {
    /// All of them, the fastest first.
    pub const ALL: [Self; 4] = [Self::Avx512, Self::Avx2, Self::Neon, Self::Scalar];

    /// Whether this CPU has it.
    pub fn is_available(self) -> bool {
        Way::new(self).is_some()
    }
}

/// A path that this CPU has: each variant holds its proof.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    Scalar(Scalar),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
}

impl Way {
    /// The fastest one.
    pub(super) fn best() -> Self {
        let ways = CpuPath::ALL.into_iter();
        ways.filter_map(Self::new)
            .next()
            .unwrap_or(Self::Scalar(Scalar))
    }

    /// `None` if the CPU does not have it.
    pub(super) fn new(path: CpuPath) -> Option<Self> {
        match path {
            CpuPath::Scalar => Some(Self::Scalar(Scalar)),
            #[cfg(target_arch = "x86_64")]
            CpuPath::Avx2 => Avx2::new().map(Self::Avx2),
            #[cfg(target_arch = "x86_64")]
            CpuPath::Avx512 => Avx512::new().map(Self::Avx512),
            #[cfg(target_arch = "aarch64")]
            CpuPath::Neon => Neon::new().map(Self::Neon),
            // Another architecture's.
            _ => None,
        }
    }

    pub(super) fn path(self) -> CpuPath {
        match self {
            Self::Scalar(_) => CpuPath::Scalar,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => CpuPath::Avx2,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => CpuPath::Avx512,
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => CpuPath::Neon,
        }
    }

    pub(super) fn run(self, job: Job<'_>) {
        match self {
            Self::Scalar(way) => way.run(job),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(way) => way.run(job),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(way) => way.run(job),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(way) => way.run(job),
        }
    }
}
