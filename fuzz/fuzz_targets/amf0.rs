//! AMF0 from a stranger: no panic, and what can be read can be written and read
//! again to the same values.
#![no_main]

use amf0::{Limits, read_all, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(values) = read_all(data, &Limits::default()) else {
        return;
    };
    let mut written = Vec::new();
    for value in &values {
        write(&mut written, value);
    }
    // Replaced bytes and end markers that were missing take room, so the limits
    // do not hold a second time.
    let limits = Limits {
        values: usize::MAX,
        string_bytes: usize::MAX,
        ..Limits::default()
    };
    let again = read_all(&written, &limits).expect("what was written can be read");
    // NaN differs from itself; its text does not.
    assert_eq!(format!("{values:?}"), format!("{again:?}"));
});
