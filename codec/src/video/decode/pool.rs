//! Pictures used again.
//!
//! A picture whose last other owner is gone is written anew instead of
//! allocated anew: a 1080p one is 3 MB, which an allocator may well give back
//! to the system and fetch again, page by page, thirty times a second.

use std::sync::Arc;

use media::{Picture, Size, Timestamp};

/// Pictures of one size, lent out as `Arc`s.
#[derive(Default)]
pub(super) struct Pool {
    pictures: Vec<Arc<Picture>>,
}

impl Pool {
    /// A picture of `size` for `write` to fill; what it holds before is
    /// undefined.
    pub(super) fn picture(
        &mut self,
        size: Size,
        pts: Timestamp,
        write: impl FnOnce(&mut Picture),
    ) -> Arc<Picture> {
        self.pictures.retain(|picture| picture.size == size);
        let free = self
            .pictures
            .iter_mut()
            .position(|picture| Arc::get_mut(picture).is_some());
        let mut picture = match free {
            Some(free) => self.pictures.swap_remove(free),
            None => Arc::new(Picture::black(size, pts)),
        };
        if let Some(picture) = Arc::get_mut(&mut picture) {
            picture.pts = pts;
            write(picture);
        }
        if self.pictures.len() < MOST {
            self.pictures.push(Arc::clone(&picture));
        }
        picture
    }
}

/// Pictures kept: 16 may wait for their turn, one is scaled, one is held for
/// its length.
const MOST: usize = 18;

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size::new(32, 16);

    fn take(pool: &mut Pool, size: Size, ticks: i64) -> Arc<Picture> {
        pool.picture(size, Timestamp::from_ticks(ticks), |picture| {
            picture.planes[0].data.fill(ticks as u8);
        })
    }

    #[test]
    fn a_picture_in_use_is_never_written() {
        let mut pool = Pool::default();
        let held: Vec<_> = (0..40).map(|ticks| take(&mut pool, SIZE, ticks)).collect();
        for (ticks, picture) in held.iter().enumerate() {
            assert_eq!(picture.pts.ticks(), ticks as i64);
            assert!(
                picture.planes[0]
                    .data
                    .iter()
                    .all(|&sample| sample == ticks as u8)
            );
        }
        assert_eq!(pool.pictures.len(), MOST);
    }

    #[test]
    fn a_picture_given_back_is_used_again() {
        let mut pool = Pool::default();
        let first = take(&mut pool, SIZE, 1);
        let samples = first.planes[0].data.as_ptr();
        drop(first);
        assert_eq!(take(&mut pool, SIZE, 2).planes[0].data.as_ptr(), samples);
    }

    #[test]
    fn another_size_leaves_nothing_of_the_old_one() {
        let mut pool = Pool::default();
        drop(take(&mut pool, SIZE, 1));
        let other = take(&mut pool, Size::new(64, 32), 2);
        assert_eq!(other.planes[0].data.len(), 64 * 32);
        assert_eq!(pool.pictures.len(), 1);
    }
}
