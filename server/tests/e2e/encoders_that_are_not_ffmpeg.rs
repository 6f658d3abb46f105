//! GStreamer's own RTMP stack, another implementation of the protocol.

use crate::harness::SMALL_LADDER;
use crate::harness::server::Server;
use crate::harness::show::Show;
use crate::harness::tools::{Running, tool};

#[test]
fn gstreamer_rtmp2sink_publishes_and_ends_well() {
    let server = Server::configured(SMALL_LADDER);
    let location = format!("location={}", server.publish_url("gst"));
    let mut gst = Running::start(tool("gst-launch-1.0").args(["-q", "-e"]).args([
        "flvmux",
        "name=mux",
        "streamable=true",
        "!",
        "rtmp2sink",
        &location,
        // Paced by the sink: sources that are live skip when the machine is busy.
        "sync=true",
        "videotestsrc",
        "num-buffers=150",
        "pattern=ball",
        "!",
        "video/x-raw,format=I420,width=320,height=180,framerate=30/1",
        "!",
        "x264enc",
        "speed-preset=ultrafast",
        "tune=zerolatency",
        "key-int-max=30",
        "!",
        "h264parse",
        "!",
        "mux.",
        "audiotestsrc",
        "num-buffers=235",
        "samplesperbuffer=1024",
        "!",
        "audio/x-raw,rate=48000,channels=2",
        "!",
        "avenc_aac",
        "!",
        "aacparse",
        "!",
        "mux.",
    ]));
    let show = Show::begin(&server, "gst").until_end(&server, "gst");
    assert!(gst.ended().success(), "{}", gst.said());
    show.is_true();
    for rung in &show.rungs {
        assert!(rung.duration() > 4.0, "{} s", rung.duration());
        assert_eq!(rung.discontinuities(), 0);
        assert_eq!(rung.segments[0].probed.streams.len(), 2);
    }
    for variant in &show.master.variants {
        assert_eq!(variant.frame_rate.as_deref(), Some("30.000"));
    }
}
