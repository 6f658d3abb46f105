//! Which instructions a scaler uses: chosen once, by what the CPU can do.

use media::Plane;

#[cfg(target_arch = "x86_64")]
use super::avx2::Avx2;
use super::plane::{Plan, Workspace};
use super::scalar::Scalar;

/// A set of instructions that scaling is written for. All give the same
/// samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuPath {
    /// Plain loops, as wide as the build's target allows.
    Scalar,
    /// x86-64 with AVX2.
    Avx2,
}

impl CpuPath {
    /// All of them, the fastest first.
    pub const ALL: [Self; 2] = [Self::Avx2, Self::Scalar];

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
            #[cfg(not(target_arch = "x86_64"))]
            CpuPath::Avx2 => None,
        }
    }

    pub(super) fn path(self) -> CpuPath {
        match self {
            Self::Scalar(_) => CpuPath::Scalar,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => CpuPath::Avx2,
        }
    }

    /// Resizes `source` into `out`, `size` columns and rows, as `plan` says.
    pub(super) fn run(
        self,
        plan: &Plan,
        source: &Plane,
        out: &mut Plane,
        size: (usize, usize),
        space: &mut Workspace,
    ) {
        match self {
            Self::Scalar(steps) => plan.run(&steps, source, out, size, space),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(steps) => plan.run(&steps, source, out, size, space),
        }
    }
}
