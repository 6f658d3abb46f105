//! Settings of the build that nothing else would miss.

use crate::harness::server::weir;

#[test]
fn the_allocator_has_one_arena() {
    // Said by the allocator itself, before anything else happens.
    let output = weir()
        .arg("--version")
        .env("_RJEM_MALLOC_CONF", "confirm_conf:true")
        .output()
        .expect("weir starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Set conf value: narenas:1\n"), "{said}");
}
