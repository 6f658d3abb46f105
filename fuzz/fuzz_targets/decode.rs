//! A track from a stranger, decoded by the default and by its fallback: no
//! panic, and pictures that are what they say.
//!
//! The input is an Annex B stream with a delimiter (type 9) in front of each
//! picture; its parameter sets are the configuration. The seeds are six
//! pictures each by x264 through ffmpeg, with `-bsf:v
//! h264_metadata=aud=insert,filter_units=remove_types=6`.
#![no_main]

use std::sync::Arc;

use bitstream::{avcc, nal};
use bytes::Bytes;
use codec::video::{Backend, open_decoder};
use codec::{Error, Limits};
use libfuzzer_sys::fuzz_target;
use media::{AccessUnit, Ticks, Timestamp, TrackConfig};

const LIMITS: Limits = Limits {
    max_picture_area: 128 * 128,
    max_picture_side: 256,
};

fuzz_target!(|data: &[u8]| {
    let nals: Vec<&[u8]> = nal::annex_b(data).collect();
    let sets = |kind: u8| -> Vec<Bytes> {
        let sets = nals.iter().filter(|nal| nal[0] & 31 == kind);
        sets.take(4)
            .map(|nal| Bytes::copy_from_slice(nal))
            .collect()
    };
    let Ok(config) = avcc::from_parameter_sets(&sets(7), &sets(8), 4) else {
        return;
    };
    let track = Arc::new(TrackConfig::H264(config.clone()));
    for backend in [Backend::RustyH264, Backend::RustH264] {
        let Ok(mut decoder) = open_decoder(backend, &config, &LIMITS) else {
            continue;
        };
        let mut pictures = Vec::new();
        for (index, nals) in nals.split(|nal| nal[0] & 31 == 9).take(24).enumerate() {
            let mut data = Vec::new();
            for nal in nals {
                nal::push_length_prefixed(&mut data, nal);
            }
            let at = Timestamp::ZERO + Ticks::from_periods(index as i64, 25);
            let unit = AccessUnit {
                pts: at,
                dts: at,
                key: false,
                data: data.into(),
                config: Arc::clone(&track),
            };
            match decoder.decode(&unit, &mut pictures) {
                Ok(()) | Err(Error::Malformed { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        decoder
            .flush(&mut pictures)
            .expect("nothing is left to fail");
        assert!(pictures.is_sorted_by(|a, b| a.pts < b.pts));
        for picture in &pictures {
            assert!(picture.size.width <= LIMITS.max_picture_side);
            for (index, plane) in picture.planes.iter().enumerate() {
                let (width, height) = picture.plane_size(index);
                assert!(plane.stride >= width && plane.data.len() >= plane.stride * height);
            }
        }
    }
});
