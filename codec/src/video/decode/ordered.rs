//! What the backends have in common: parameter sets, recovery, order, and the
//! change to another backend.

use std::sync::Arc;

use bitstream::nal;
use bytes::Bytes;
use media::{AccessUnit, H264Config, Picture};

use super::reorder::Reorder;
use super::{Backed, Backend, Decoder, open_backend};
use crate::Error;

pub(super) struct Ordered {
    backend: Box<dyn Backed>,
    name: Backend,
    /// What takes over when `backend` turns out not to be up to the stream.
    fallback: Option<Backend>,
    config: H264Config,
    /// Parameter sets as Annex B, fed in front of key units.
    parameter_sets: Vec<u8>,
    annex_b: Vec<u8>,
    state: State,
    order: Reorder,
    /// Whether a unit since the last key unit was damaged.
    damaged: bool,
    /// Key units in a row that were damaged, or one of the units behind each.
    damaged_groups: u32,
    /// Whether a slice has asked for what `backend` lacks.
    unsuited: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Waits for the first key unit.
    Fresh,
    /// Waits for a key unit after damage.
    Damaged,
    Decoding,
}

impl Ordered {
    pub(super) fn open(
        name: Backend,
        fallback: Option<Backend>,
        config: &H264Config,
        order: Reorder,
    ) -> Result<Self, Error> {
        let backend = open_backend(name, config)?;
        Ok(Self {
            parameter_sets: parameter_sets(&*backend, config),
            backend,
            name,
            fallback,
            config: config.clone(),
            annex_b: Vec::new(),
            state: State::Fresh,
            order,
            damaged: false,
            damaged_groups: 0,
            unsuited: false,
        })
    }

    /// Prepares for a key unit: nothing before it is needed any more.
    fn begin_group(&mut self, out: &mut Vec<Arc<Picture>>) -> Result<(), Error> {
        self.drain(out);
        self.damaged_groups = match std::mem::take(&mut self.damaged) {
            true => self.damaged_groups + 1,
            false => 0,
        };
        let unfit = self.unsuited || self.damaged_groups >= PATIENCE;
        match self.fallback.take_if(|_| unfit) {
            Some(fallback) => {
                self.backend = open_backend(fallback, &self.config)?;
                self.name = fallback;
                self.parameter_sets = parameter_sets(&*self.backend, &self.config);
            }
            None if self.state == State::Damaged => self.backend.reset()?,
            None => {}
        }
        self.state = State::Decoding;
        Ok(())
    }

    /// Gives out everything that is held back.
    fn drain(&mut self, out: &mut Vec<Arc<Picture>>) {
        if self.state == State::Decoding
            && let Some(picture) = self.backend.drain()
        {
            let pts = picture.pts;
            // A picture that comes too late to be shown is no loss of a unit.
            let _ = self.order.push(picture, pts, out);
        }
        self.order.flush(out);
    }

    /// Fills `annex_b` with what of `unit` a decoder needs; says whether there
    /// is a picture in it.
    ///
    /// Sequence parameter sets inside a unit are left out, also ones behind a
    /// start code inside another NAL unit: a change of them has come as a new
    /// configuration, which was checked against the limits.
    fn rewrite(&mut self, unit: &AccessUnit, key: bool) -> Result<bool, Error> {
        self.annex_b.clear();
        if key {
            self.annex_b.extend_from_slice(&self.parameter_sets);
        }
        let mut picture = false;
        for nal in nal::lengths(&unit.data, self.config.nal_length_size) {
            let nal = nal.map_err(Error::damaged_picture)?;
            let from = self.annex_b.len();
            nal::push_annex_b(&mut self.annex_b, nal);
            // Some senders put several units behind one length, with start
            // codes between them. Nearly always it is this one alone.
            let hides_others = nal::annex_b(&self.annex_b[from..]).nth(1).is_some();
            if wanted(nal) && !hides_others {
                picture |= nal[0] & 0x1f != PPS;
                continue;
            }
            let parts = self.annex_b.split_off(from);
            for nal in nal::annex_b(&parts).filter(|nal| wanted(nal)) {
                nal::push_annex_b(&mut self.annex_b, nal);
                picture |= nal[0] & 0x1f != PPS;
            }
        }
        Ok(picture)
    }

    /// Whether decoding can start at `unit`. Notes when its slices ask for the
    /// other backend.
    fn is_key(&mut self, unit: &AccessUnit) -> Result<bool, Error> {
        let mut key = unit.key;
        for nal in nal::lengths(&unit.data, self.config.nal_length_size) {
            let nal = nal.map_err(Error::damaged_picture)?;
            key |= nal[0] & 0x1f == IDR_SLICE;
            let slice = matches!(nal[0] & 0x1f, SLICE | IDR_SLICE);
            self.unsuited |= slice && !self.backend.suits(nal);
        }
        Ok(key)
    }

    fn decode_unit(&mut self, unit: &AccessUnit, out: &mut Vec<Arc<Picture>>) -> Result<(), Error> {
        let key = self.is_key(unit)?;
        if key {
            self.begin_group(out)?;
        }
        if self.state != State::Decoding || !self.rewrite(unit, key)? {
            return Ok(());
        }
        match self.backend.decode(&self.annex_b, unit.pts)? {
            Some(picture) => self.order.push(picture, unit.dts, out),
            None => Ok(()),
        }
    }
}

impl Decoder for Ordered {
    fn decode(&mut self, unit: &AccessUnit, out: &mut Vec<Arc<Picture>>) -> Result<(), Error> {
        self.order.begin(unit.dts, out);
        self.decode_unit(unit, out).inspect_err(|_| {
            self.state = State::Damaged;
            self.damaged = true;
        })
    }

    fn flush(&mut self, out: &mut Vec<Arc<Picture>>) -> Result<(), Error> {
        self.drain(out);
        Ok(())
    }

    fn backend(&self) -> Backend {
        self.name
    }
}

fn parameter_sets(backend: &dyn Backed, config: &H264Config) -> Vec<u8> {
    let mut out = Vec::new();
    for sps in &config.sps {
        nal::push_annex_b(&mut out, &backend.adapt_sps(sps));
    }
    for pps in config.pps.iter().map(Bytes::as_ref) {
        nal::push_annex_b(&mut out, pps);
    }
    out
}

/// Whether a decoder needs the NAL unit, and may have it.
fn wanted(nal: &[u8]) -> bool {
    matches!(nal[0] & 0x1f, SLICE | IDR_SLICE | PPS)
}

/// Damaged key units in a row, or such with damage behind them, before the
/// other backend is tried. TCP does not damage: three in a row are a tool that
/// the backend lacks. Should they be damage all the same, the other backend
/// takes more time and notices less of it.
const PATIENCE: u32 = 3;

const SLICE: u8 = 1;
const IDR_SLICE: u8 = 5;
const PPS: u8 = 8;
