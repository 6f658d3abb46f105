//! The C++ encoder object behind a safe type.

#![expect(unsafe_code, reason = "calls openh264 through its table of functions")]

use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};
use std::slice;

use media::Picture;
use openh264_sys2::source::APILoader;
use openh264_sys2::{
    ENCODER_OPTION_SVC_ENCODE_PARAM_EXT, ENCODER_OPTION_TRACE_LEVEL, ISVCEncoder, ISVCEncoderVtbl,
    SEncParamExt, SFrameBSInfo, SSourcePicture, WELS_LOG_QUIET, videoFormatI420, videoFrameTypeIDR,
    videoFrameTypeSkip,
};

use crate::Error;

/// An `ISVCEncoder`. Owned alone, freed on drop.
pub(super) struct RawEncoder {
    encoder: NonNull<ISVCEncoder>,
    width: i32,
    height: i32,
    /// Written by the encoder at every picture; 5 kB, so kept.
    coded: Box<SFrameBSInfo>,
    /// What it was told last, whole, because it only takes settings whole.
    settings: Box<SEncParamExt>,
}

// SAFETY: the object has no thread affinity (openh264 keeps no thread-local
// state), and only `&mut self` reaches it.
unsafe impl Send for RawEncoder {}

/// What came of one picture.
pub(super) enum Outcome {
    Coded(Coded),
    /// It did not fit the encoder's buffer, which holds the raw picture's size
    /// and wants half as much again as it uses. The encoder has closed itself.
    Overflow,
}

/// One coded picture.
pub(super) struct Coded {
    /// Annex B: NAL units, each behind its start code.
    pub(super) annex_b: Vec<u8>,
    /// An IDR picture.
    pub(super) key: bool,
}

impl RawEncoder {
    /// Opens an encoder. `adjust` changes the library's default settings.
    pub(super) fn open(adjust: impl FnOnce(&mut SEncParamExt)) -> Result<Self, Error> {
        let mut encoder: *mut ISVCEncoder = ptr::null_mut();
        // SAFETY: the pointer given is valid for the write of one pointer.
        let code = unsafe { APILoader::WelsCreateSVCEncoder(&mut encoder) };
        let Some(encoder) = NonNull::new(encoder).filter(|_| code == 0) else {
            return Err(failed("creating an encoder", code));
        };
        let mut this = Self {
            encoder,
            width: 0,
            height: 0,
            coded: Box::default(),
            settings: Box::default(),
        };
        let mut settings = SEncParamExt::default();
        let defaults = method(this.table().GetDefaultParams, "GetDefaultParams")?;
        // SAFETY: the encoder lives as long as `this`; `settings` is a valid,
        // exclusive destination for the length of the call.
        check("GetDefaultParams", unsafe {
            defaults(this.as_ptr(), &mut settings)
        })?;
        adjust(&mut settings);
        // It writes to stderr otherwise, from inside a library.
        let mut quiet: c_int = WELS_LOG_QUIET;
        let set = method(this.table().SetOption, "SetOption")?;
        // SAFETY: the option is documented to read one int through the pointer.
        let code = unsafe {
            set(
                this.as_ptr(),
                ENCODER_OPTION_TRACE_LEVEL,
                ptr::from_mut(&mut quiet).cast::<c_void>(),
            )
        };
        check("SetOption", code)?;
        let initialize = method(this.table().InitializeExt, "InitializeExt")?;
        // SAFETY: `settings` is a complete structure of the library's own
        // defaults with changes, read during the call only.
        check("InitializeExt", unsafe {
            initialize(this.as_ptr(), &settings)
        })?;
        this.width = settings.iPicWidth;
        this.height = settings.iPicHeight;
        *this.settings = settings;
        Ok(this)
    }

    /// Sets the quantiser of the pictures to come. With rate control off, a
    /// change of nothing else resets nothing.
    pub(super) fn set_qp(&mut self, qp: u8) -> Result<(), Error> {
        let layer = &mut self.settings.sSpatialLayers[0];
        if layer.iDLayerQp == c_int::from(qp) {
            return Ok(());
        }
        layer.iDLayerQp = c_int::from(qp);
        let set = method(self.table().SetOption, "SetOption")?;
        // SAFETY: initialised in `open`; the option is documented to read one
        // `SEncParamExt` through the pointer, during the call only.
        let code = unsafe {
            set(
                self.encoder.as_ptr(),
                ENCODER_OPTION_SVC_ENCODE_PARAM_EXT,
                ptr::from_mut(&mut *self.settings).cast::<c_void>(),
            )
        };
        check("SetOption", code)
    }

    /// The parameter sets it will send, as Annex B.
    pub(super) fn parameter_sets(&mut self) -> Result<Vec<u8>, Error> {
        let encode = method(self.table().EncodeParameterSets, "EncodeParameterSets")?;
        // SAFETY: initialised in `open`; `coded` is a valid destination, and
        // the buffers it then points to stay until the next call.
        let code = unsafe { encode(self.encoder.as_ptr(), &mut *self.coded) };
        check("EncodeParameterSets", code)?;
        self.annex_b()
    }

    /// Encodes one picture of the size it was opened with.
    pub(super) fn encode(&mut self, picture: &Picture, force_key: bool) -> Result<Outcome, Error> {
        let mut source = SSourcePicture {
            iColorFormat: videoFormatI420,
            iPicWidth: self.width,
            iPicHeight: self.height,
            uiTimeStamp: picture.pts.millis(),
            ..SSourcePicture::default()
        };
        for (index, plane) in picture.planes.iter().enumerate() {
            let share = if index == 0 { 1 } else { 2 };
            let (width, height) = (self.width as usize / share, self.height as usize / share);
            if plane.stride < width || plane.data.len() < plane.stride * (height - 1) + width {
                return Err(Error::Config(format!(
                    "a plane of {} bytes in rows of {} is too small for {width}x{height}",
                    plane.data.len(),
                    plane.stride
                )));
            }
            source.iStride[index] = plane.stride as c_int;
            source.pData[index] = plane.data.as_ptr().cast_mut();
        }
        if force_key {
            let force = method(self.table().ForceIntraFrame, "ForceIntraFrame")?;
            // SAFETY: initialised in `open`; takes a plain flag.
            check("ForceIntraFrame", unsafe { force(self.as_ptr(), true) })?;
        }
        let encode = method(self.table().EncodeFrame, "EncodeFrame")?;
        // SAFETY: the loop above proved that each plane holds the rows and
        // columns that `source` claims; the encoder only reads them (the
        // pointers are mutable by C's habit alone) and only during the call.
        let code = unsafe { encode(self.encoder.as_ptr(), &source, &mut *self.coded) };
        if code == OUT_OF_MEMORY {
            return Ok(Outcome::Overflow);
        }
        check("EncodeFrame", code)?;
        if self.coded.eFrameType == videoFrameTypeSkip {
            return Err(Error::Backend {
                library: "openh264",
                what: "a picture was skipped though skipping is off".into(),
            });
        }
        Ok(Outcome::Coded(Coded {
            annex_b: self.annex_b()?,
            key: self.coded.eFrameType == videoFrameTypeIDR,
        }))
    }

    /// Copies the NAL units out of the encoder's buffers.
    fn annex_b(&self) -> Result<Vec<u8>, Error> {
        let layers = usize::try_from(self.coded.iLayerNum).unwrap_or(0);
        let mut out =
            Vec::with_capacity(usize::try_from(self.coded.iFrameSizeInBytes).unwrap_or(0));
        for layer in self.coded.sLayerInfo.iter().take(layers) {
            let units = usize::try_from(layer.iNalCount).unwrap_or(0);
            if units == 0 || layer.pNalLengthInByte.is_null() || layer.pBsBuf.is_null() {
                continue;
            }
            // SAFETY: after a successful call a layer's `pNalLengthInByte`
            // holds `iNalCount` lengths, until the next call; `&self` keeps
            // that from being made.
            let lengths = unsafe { slice::from_raw_parts(layer.pNalLengthInByte, units) };
            let length: usize = lengths
                .iter()
                .map(|&length| usize::try_from(length).unwrap_or(0))
                .sum();
            // SAFETY: its units lie one behind the other in `pBsBuf`, so their
            // lengths add up to the bytes written there.
            out.extend_from_slice(unsafe { slice::from_raw_parts(layer.pBsBuf, length) });
        }
        if out.is_empty() {
            return Err(Error::Backend {
                library: "openh264",
                what: "a picture came back without a byte".into(),
            });
        }
        Ok(out)
    }

    fn as_ptr(&mut self) -> *mut ISVCEncoder {
        self.encoder.as_ptr()
    }

    fn table(&self) -> &ISVCEncoderVtbl {
        // SAFETY: `encoder` came from a successful creation and is not
        // destroyed before `drop`; the table it points to is static.
        unsafe { &**self.encoder.as_ptr() }
    }
}

impl Drop for RawEncoder {
    fn drop(&mut self) {
        if let Some(uninitialize) = self.table().Uninitialize {
            // SAFETY: allowed on any created encoder, initialised or not.
            unsafe { uninitialize(self.encoder.as_ptr()) };
        }
        // SAFETY: created in `open`, owned alone, not used again.
        unsafe { APILoader::WelsDestroySVCEncoder(self.encoder.as_ptr()) };
    }
}

fn method<F>(function: Option<F>, name: &'static str) -> Result<F, Error> {
    function.ok_or_else(|| failed(name, 0))
}

fn check(what: &'static str, code: c_int) -> Result<(), Error> {
    if code == 0 {
        Ok(())
    } else {
        Err(failed(what, code))
    }
}

fn failed(what: &'static str, code: c_int) -> Error {
    Error::Backend {
        library: "openh264",
        what: format!("{what} answered {code}"),
    }
}

/// `cmMallocMemeError` of `CM_RETURN`, which the bindings leave out.
const OUT_OF_MEMORY: c_int = 3;
