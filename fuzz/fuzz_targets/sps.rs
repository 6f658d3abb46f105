//! Parameter sets and configurations from a stranger: no panic, no picture
//! above the limits, and what is read is written back to the same facts.
#![no_main]

use bitstream::sps::Sps;
use bitstream::{Limits, adts, asc, avcc, nal};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let limits = Limits::default();
    // No longer parameter set is accepted.
    let set = &data[..data.len().min(16 * 1024)];
    if let Ok(sps) = Sps::parse(set, &limits) {
        assert!(sps.coded_size.area() <= limits.max_area);
        assert!(sps.size.area() > 0 && sps.size.area() <= sps.coded_size.area());
        let bytes = Bytes::copy_from_slice(set);
        let config = avcc::from_parameter_sets(&[bytes.clone()], &[], 4);
        let config = config.expect("an SPS that can be read makes a configuration");
        let _ = avcc::in_band_change(&bytes, &config, &limits);
    }
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(config) = avcc::parse(&bytes) {
        assert_eq!(avcc::parse(&avcc::write(&config)), Ok(config));
    }
    if let Ok(config) = asc::parse(&bytes) {
        if let Ok(header) = adts::header(&config, 100) {
            let header = adts::parse(&header).expect("a header of ours can be read");
            assert_eq!(header.frame_len, 107);
        }
    }
    let _ = adts::parse(data);
    let prefixed = nal::from_annex_b(data);
    let again = nal::from_annex_b(&nal::to_annex_b(&prefixed, 4).expect("lengths of ours"));
    assert_eq!(prefixed, again);
});
