//! Settings of the build that nothing else would miss.

use std::process::Command;

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

/// Through QEMU's emulation of such CPUs, where that is installed (scripts/setup.sh
/// test): without AVX at all, as virtual machines are by default, and with no more.
#[test]
#[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
fn a_cpu_that_is_too_old_is_told_so() {
    let on = |cpu: &str| {
        let program = weir().get_program().to_owned();
        let mut qemu = Command::new("qemu-x86_64");
        qemu.args(["-cpu", cpu]).arg(program).arg("--version");
        qemu.output().map(|output| {
            let said = String::from_utf8_lossy(&output.stderr);
            let own = said
                .lines()
                .filter(|line| !line.starts_with("qemu-x86_64: warning"));
            (output.status.code(), own.collect::<Vec<_>>().join("\n"))
        })
    };
    let Ok(enough) = on("Haswell") else {
        eprintln!("left out: qemu-x86_64 is not installed");
        return;
    };
    assert_eq!(enough, (Some(0), String::new()));
    let other_build = "cargo build --release";
    for (cpu, lacking, then) in [
        (
            "qemu64",
            "SSSE3 SSE4.1 SSE4.2 POPCNT AVX AVX2",
            "host's CPU",
        ),
        (
            "Nehalem",
            "AVX AVX2 BMI1 BMI2 F16C FMA LZCNT MOVBE OSXSAVE, ",
            other_build,
        ),
        (
            "SandyBridge",
            "AVX2 BMI1 BMI2 F16C FMA LZCNT MOVBE, ",
            other_build,
        ),
        ("Haswell,-avx2", "AVX2, ", other_build),
    ] {
        let (code, said) = on(cpu).expect("it starts");
        assert_eq!(code, Some(1), "{cpu}: {said}");
        let expected = format!("weir: this CPU lacks {lacking}");
        assert!(said.starts_with(&expected), "{cpu}: {said}");
        assert!(said.ends_with(then), "{cpu}: {said}");
    }
}
