//! Says whether openh264's assembly will be in the build, and warns when not:
//! without it encoding takes about three times the CPU.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(with_assembly)");
    // Only x86 needs nasm; elsewhere the C compiler assembles.
    let target = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let needs_nasm = target == "x86_64" || target == "x86";
    let has_nasm = || {
        Command::new("nasm")
            .arg("-v")
            .output()
            .is_ok_and(|output| output.status.success())
    };
    if !needs_nasm || has_nasm() {
        println!("cargo::rustc-cfg=with_assembly");
    } else {
        println!(
            "cargo::warning=nasm is not installed: openh264 is built without its assembly and encoding \
             will take about THREE TIMES the CPU. Install nasm (`apt-get install nasm`) and build again \
             after `cargo clean -p openh264-sys2 -p weir-codec`."
        );
    }
}
