//! Resizes pictures: rows are blended first, then columns.
//!
//! The kernel is a choice of quality: at 360p Catmull-Rom is worth 9 VMAF
//! points over bilinear, which drops samples when it shrinks. In steps, from
//! rung to rung, it is cheaper and no softer (docs/scaling.md).
//!
//! Arithmetic is in 16-bit integers with 32-bit sums. Sums are exact, so their
//! order does not matter and every CPU path gives the same samples ([`steps`]).

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod changes;
mod cpu;
mod kernel;
#[cfg(target_arch = "aarch64")]
mod neon;
mod plane;
mod scalar;
mod sharpen;
mod steps;
mod taps;
#[cfg(test)]
mod tests;

use media::{Picture, Plane, Size};

pub use changes::Changes;
pub use cpu::CpuPath;
pub use kernel::Kernel;

use cpu::Way;
use plane::{Job, Plan, Workspace};
use sharpen::Sharpen;
use taps::Siting;

/// Resizes pictures of one size to another. Coefficients are computed once.
///
/// Planes are resized separately. Chroma samples are taken to lie where H.264
/// puts them unless told otherwise: level with the left one of their two luma
/// samples and half way between their two rows (type 0).
#[derive(Debug)]
pub struct Scaler {
    from: Size,
    to: Size,
    kernel: Kernel,
    /// Luma's and chroma's; `None` if nothing is to be resized.
    plans: Option<[Plan; 2]>,
    way: Way,
    space: Workspace,
    sharpen: Option<Sharpen>,
}

impl Scaler {
    /// A scaler from one size to another with the default kernel, on the
    /// fastest path that the CPU has. Sides are rounded down to even.
    pub fn new(from: Size, to: Size) -> Self {
        let (from, to) = (from.even(), to.even());
        Self {
            from,
            to,
            kernel: Kernel::default(),
            plans: plans(from, to, Kernel::default()),
            way: Way::best(),
            space: Workspace::new(),
            sharpen: None,
        }
    }

    /// The same with another kernel.
    pub fn with_kernel(mut self, kernel: Kernel) -> Self {
        self.kernel = kernel;
        self.plans = plans(self.from, self.to, kernel);
        self
    }

    /// The same with `strength`, 0 to 1, of an unsharp mask over 3 by 3 luma
    /// samples behind it, also where sizes are equal. 0 changes nothing at all.
    pub fn sharpened(mut self, strength: f64) -> Self {
        self.sharpen = Sharpen::new(strength);
        self
    }

    /// The same on another CPU path, for tests and benches: the samples are the
    /// same. `None` if this CPU does not have it.
    pub fn on(mut self, path: CpuPath) -> Option<Self> {
        self.way = Way::new(path)?;
        Some(self)
    }

    /// The size of its pictures.
    pub fn size(&self) -> Size {
        self.to
    }

    /// The CPU path it takes.
    pub fn path(&self) -> CpuPath {
        self.way.path()
    }

    /// Writes `from`, resized, into `to`, with its pts. Planes of `to` are
    /// reused when they have the right size already. A picture of another size
    /// than announced is resized as well, at the price of new coefficients.
    pub fn scale(&mut self, from: &Picture, to: &mut Picture) {
        self.run(from, None, to);
    }

    /// The same where `to` is what this scaler last made, and `changes` are those
    /// since the picture that it was made of: what did not change is left as it
    /// is. The samples are those of [`Scaler::scale`].
    pub fn scale_changes(&mut self, from: &Picture, changes: &Changes, to: &mut Picture) {
        self.run(from, Some(changes), to);
    }

    /// What differs between two pictures that this scaler makes, one after the
    /// other, of pictures that differ by `changes`; possibly too much.
    pub fn carry(&self, changes: &Changes) -> Changes {
        changes.carried(self.to.height as usize, |index, rows| match &self.plans {
            _ if index == 0 && self.sharpen.is_some() => None,
            Some([luma, chroma]) => {
                let plan = if index == 0 { luma } else { chroma };
                Some(plan.source_rows(rows))
            }
            None => Some(rows),
        })
    }

    fn run(&mut self, from: &Picture, changes: Option<&Changes>, to: &mut Picture) {
        if from.size.even() != self.from {
            self.from = from.size.even();
            self.plans = plans(self.from, self.to, self.kernel);
        }
        to.pts = from.pts;
        to.size = self.to;
        for (index, source) in from.planes.iter().enumerate() {
            let (width, height) = to.plane_size(index);
            let plane = &mut to.planes[index];
            // Sharpened rows cannot be told from the ones that were scaled.
            let mut changes = changes.filter(|_| index > 0 || self.sharpen.is_none());
            if plane.stride < width || plane.data.len() < plane.stride * height {
                *plane = Plane::filled(width, height, 0);
                changes = None;
            }
            match &self.plans {
                Some([luma, chroma]) => {
                    let plan = if index == 0 { luma } else { chroma };
                    self.way.run(Job {
                        plan,
                        source,
                        changes: changes.map(|changes| changes.plane(index)),
                        out: plane,
                        space: &mut self.space,
                    });
                }
                None if self.from == self.to => {
                    for y in 0..height {
                        plane.row_mut(y)[..width].copy_from_slice(&source.row(y)[..width]);
                    }
                }
                // Nothing comes of nothing.
                None => plane.data.fill(if index == 0 { 16 } else { 128 }),
            }
        }
        if let Some(sharpen) = &mut self.sharpen {
            let size = to.plane_size(0);
            sharpen.apply(&mut to.planes[0], size);
        }
    }
}

/// Plans for luma and chroma, unless sizes are equal or one is empty.
fn plans(from: Size, to: Size, kernel: Kernel) -> Option<[Plan; 2]> {
    let empty = |size: Size| size.width == 0 || size.height == 0;
    if from == to || empty(from) || empty(to) {
        return None;
    }
    let plan = |share: u32, siting| {
        let sides = |size: Size| (size.width / share, size.height / share);
        Plan::new(sides(from), sides(to), siting, kernel)
    };
    Some([plan(1, Siting::Centre), plan(2, Siting::Left)])
}
