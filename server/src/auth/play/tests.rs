use ring::signature::{Ed25519KeyPair, KeyPair as _};
use ring::{hmac, rand};
use serde_json::{Value, json};

use super::*;

const SECRET: &str = "a secret of thirty-two bytes or more";
const NOW: u64 = 1_800_000_000;

fn base64(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for at in 0..=chunk.len() {
            text.push(alphabet[(bits >> (18 - 6 * at) & 63) as usize].into());
        }
    }
    text
}

fn url64(bytes: &[u8]) -> String {
    base64(
        bytes,
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
    )
}

/// Header and claims, signed with `sign`.
fn token(header: &Value, claims: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let message = format!(
        "{}.{}",
        url64(header.to_string().as_bytes()),
        url64(claims.as_bytes())
    );
    let signature = url64(&sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn hmac_with(key: &[u8]) -> impl FnOnce(&[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    move |message| hmac::sign(&key, message).as_ref().to_vec()
}

fn hs256(claims: &Value) -> String {
    let header = json!({"alg": "HS256", "typ": "JWT"});
    token(&header, &claims.to_string(), hmac_with(SECRET.as_bytes()))
}

fn key_pair() -> Ed25519KeyPair {
    let document = Ed25519KeyPair::generate_pkcs8(&rand::SystemRandom::new()).unwrap();
    Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap()
}

fn public(pair: &Ed25519KeyPair) -> [u8; 32] {
    pair.public_key().as_ref().try_into().unwrap()
}

fn viewers(secret: Option<&str>, public_key: Option<[u8; 32]>) -> Viewers {
    let keys = PlayKeys {
        secret: secret.and_then(PlaySecret::new),
        public_key: public_key.map(PublicKey::Bytes),
    };
    Viewers::new(Some(&keys)).unwrap()
}

fn ask(viewers: &Viewers, token: &str) -> Result<Pass, Refused> {
    let name = "demo".parse().unwrap();
    let peer = "203.0.113.7".parse().unwrap();
    viewers.admit(&name, Some(token), peer, NOW * 1000)
}

fn good() -> Value {
    json!({"name": "demo", "exp": NOW + 60})
}

/// `good` with `key` set to `value`.
fn with(key: &str, value: Value) -> Value {
    let mut claims = good();
    claims[key] = value;
    claims
}

#[test]
fn a_token_without_or_with_another_algorithm_is_not_looked_at() {
    let pair = key_pair();
    let viewers = viewers(Some(SECRET), Some(public(&pair)));
    let claims = good().to_string();
    for alg in [
        "none", "None", "NONE", "", "HS384", "HS512", "RS256", "ES256",
    ] {
        let header = json!({ "alg": alg });
        let unsigned = token(&header, &claims, |_| Vec::new());
        assert_eq!(ask(&viewers, &unsigned), Err(Refused::Unfit), "{alg}");
        let signed = token(&header, &claims, hmac_with(SECRET.as_bytes()));
        assert_eq!(ask(&viewers, &signed), Err(Refused::Unfit), "{alg}");
    }
}

#[test]
fn a_public_key_is_no_secret() {
    let pair = key_pair();
    let bytes = public(&pair);
    let claims = good().to_string();
    let hs256 = json!({"alg": "HS256"});
    let der = [
        &[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0][..],
        &bytes,
    ]
    .concat();
    for viewers in [
        viewers(None, Some(bytes)),
        viewers(Some(SECRET), Some(bytes)),
    ] {
        for key in [&bytes[..], &der, url64(&bytes).as_bytes()] {
            let forged = token(&hs256, &claims, hmac_with(key));
            assert_eq!(ask(&viewers, &forged), Err(Refused::Unfit));
            let header = json!({"alg": "EdDSA"});
            let forged = token(&header, &claims, hmac_with(key));
            assert_eq!(ask(&viewers, &forged), Err(Refused::Unfit));
        }
    }
    // Nor is a signature of the one taken for that of the other.
    let eddsa = |header: &Value| token(header, &claims, |m| pair.sign(m).as_ref().to_vec());
    let signed = eddsa(&json!({"alg": "EdDSA"}));
    assert!(ask(&viewers(None, Some(bytes)), &signed).is_ok());
    assert_eq!(
        ask(&viewers(Some(SECRET), None), &signed),
        Err(Refused::Unfit)
    );
    assert_eq!(
        ask(&viewers(Some(SECRET), Some(bytes)), &eddsa(&hs256)),
        Err(Refused::Unfit)
    );
    let other = public(&key_pair());
    assert_eq!(
        ask(&viewers(None, Some(other)), &signed),
        Err(Refused::Unfit)
    );
}

#[test]
fn the_smallest_change_is_noticed() {
    let viewers = viewers(Some(SECRET), None);
    let token = hs256(&good());
    assert!(ask(&viewers, &token).is_ok());
    for at in 0..token.len() {
        // The last character's lowest bits are no part of the signature.
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'Q' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert_eq!(ask(&viewers, &changed), Err(Refused::Unfit), "{at}");
    }
    for odd in [
        "a",
        "a.b",
        "a.b.c",
        "....",
        "..",
        "\u{e9}.b.c",
        &format!("{token}."),
        &format!(".{token}"),
        &format!("{token}="),
        &token.replace('.', "%2e"),
        &token[..token.len() - 1],
        token.rsplit_once('.').unwrap().0,
    ] {
        assert_eq!(ask(&viewers, odd), Err(Refused::Unfit), "{odd}");
    }
    let stranger = token_of_another_secret();
    assert_eq!(ask(&viewers, &stranger), Err(Refused::Unfit));
}

fn token_of_another_secret() -> String {
    let header = json!({"alg": "HS256"});
    let secret = SECRET.replace('a', "b");
    token(&header, &good().to_string(), hmac_with(secret.as_bytes()))
}

#[test]
fn none_and_a_huge_one_are_refused_before_anything_is_computed() {
    let viewers = viewers(Some(SECRET), None);
    let name = "demo".parse().unwrap();
    let peer = "203.0.113.7".parse().unwrap();
    for nothing in [None, Some("")] {
        let answer = viewers.admit(&name, nothing, peer, NOW * 1000);
        assert_eq!(answer, Err(Refused::Missing));
    }
    let huge = hs256(&with("more", json!("x".repeat(LONGEST_TOKEN))));
    assert_eq!(ask(&viewers, &huge), Err(Refused::TooLong));
    let large = hs256(&with("more", json!("x".repeat(2500))));
    assert!(ask(&viewers, &large).is_ok());
    assert!(Refused::TooLong.to_string().contains("4096"));
}

#[test]
fn times_are_kept_to_the_millisecond_but_for_the_signers_clock() {
    let viewers = viewers(Some(SECRET), None);
    let check = |key: &str, value: Value, expected: Result<(), Refused>| {
        let token = hs256(&with(key, value.clone()));
        let found = ask(&viewers, &token).map(drop);
        assert_eq!(found, expected, "{key} {value}");
        // Once more, for it is known now.
        assert_eq!(ask(&viewers, &token).map(drop), expected, "{key} {value}");
    };
    check("exp", json!(NOW), Err(Refused::Expired));
    check("exp", json!(NOW + 1), Ok(()));
    check("exp", json!(NOW as f64 + 0.5), Ok(()));
    check("exp", json!(NOW - 86_400), Err(Refused::Expired));
    check("exp", json!(-1), Err(Refused::Expired));
    check("exp", json!(1e300), Ok(()));
    check("exp", json!(null), Err(Refused::Endless));
    check("exp", json!("2100"), Err(Refused::Unfit));
    check("exp", json!([NOW + 60]), Err(Refused::Unfit));
    for key in ["nbf", "iat"] {
        check(key, json!(NOW), Ok(()));
        check(key, json!(NOW + 5), Ok(()));
        check(key, json!(NOW + 6), Err(Refused::Early));
        check(key, json!(1e300), Err(Refused::Early));
        check(key, json!("now"), Err(Refused::Unfit));
    }
    let endless = hs256(&json!({"name": "demo"}));
    assert_eq!(ask(&viewers, &endless), Err(Refused::Endless));
    let twice = format!("{{\"name\":\"demo\",\"exp\":1,\"exp\":{}}}", NOW + 60);
    let header = json!({"alg": "HS256"});
    let twice = token(&header, &twice, hmac_with(SECRET.as_bytes()));
    assert_eq!(ask(&viewers, &twice), Err(Refused::Unfit));
}

#[test]
fn a_token_that_is_known_expires_all_the_same() {
    let viewers = viewers(Some(SECRET), None);
    let token = hs256(&good());
    let name = "demo".parse().unwrap();
    let peer = "203.0.113.7".parse().unwrap();
    let at = |ms: u64| viewers.admit(&name, Some(&token), peer, ms);
    let pass = at(NOW * 1000).unwrap();
    assert!(at((NOW + 60) * 1000 - 1).is_ok());
    assert_eq!(at((NOW + 60) * 1000), Err(Refused::Expired));
    assert_eq!(
        pass.left((NOW + 59) * 1000),
        Some(Some(Duration::from_secs(1)))
    );
    assert_eq!(pass.left((NOW + 60) * 1000), None);
    assert_eq!(pass.left(0), Some(Some(LOOK)));
    assert_eq!(Pass::FREE.left(u64::MAX), Some(None));
}

#[test]
fn a_token_is_for_its_stream_and_its_address() {
    let viewers = viewers(Some(SECRET), None);
    let check = |key: &str, value: Value, expected: Result<(), Refused>| {
        let token = hs256(&with(key, value.clone()));
        assert_eq!(ask(&viewers, &token).map(drop), expected, "{key} {value}");
    };
    check("name", json!("other"), Err(Refused::Stream));
    check("name", json!("DEMO"), Err(Refused::Stream));
    check("name", json!("demo "), Err(Refused::Stream));
    check("name", json!("d*"), Err(Refused::Stream));
    check("name", json!(""), Err(Refused::Stream));
    check("name", json!("*"), Ok(()));
    check("name", json!(["demo"]), Err(Refused::Unfit));
    check("name", json!(null), Err(Refused::Unfit));
    check("addr", json!("203.0.113.7"), Ok(()));
    check("addr", json!("::ffff:203.0.113.7"), Ok(()));
    check("addr", json!("203.0.113.0/24"), Ok(()));
    check("addr", json!("203.0.113.8"), Err(Refused::Address));
    check("addr", json!("2001:db8::/32"), Err(Refused::Address));
    check("addr", json!("anywhere"), Err(Refused::Address));
    check("addr", json!(""), Err(Refused::Address));
    check("aud", json!("weir"), Ok(()));
    check("aud", json!(["mail", "weir"]), Ok(()));
    check("aud", json!("mail"), Err(Refused::Unfit));
    let header = json!({"alg": "HS256", "crit": ["exp"]});
    let critical = token(&header, &good().to_string(), hmac_with(SECRET.as_bytes()));
    assert_eq!(ask(&viewers, &critical), Err(Refused::Unfit));
}

#[test]
fn what_is_known_is_bounded_and_who_watches_stays_known() {
    let mut known = Known::default();
    let grant = Arc::new(Grant::try_from(claims()).unwrap());
    let digest = |number: u64| {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_le_bytes());
        digest
    };
    for number in 0..5 * MOST_KNOWN as u64 {
        known.keep(digest(number), Arc::clone(&grant));
        assert!(known.find(&digest(0)).is_some());
        assert!(known.young.len() + known.old.len() <= 2 * MOST_KNOWN);
    }
    assert!(known.find(&digest(1)).is_none());
}

fn claims() -> Claims {
    serde_json::from_value(good()).unwrap()
}

#[test]
fn what_weir_signs_it_takes() {
    let viewers = viewers(Some(SECRET), None);
    let secret = PlaySecret::new(SECRET).unwrap();
    let mut wish = Wish {
        name: Some("demo".parse().unwrap()),
        lifetime: Duration::from_secs(60),
        addr: Some("203.0.113.0/24".to_owned()),
    };
    let token = sign(&secret, &wish, NOW * 1000).unwrap();
    assert!(ask(&viewers, &token).is_ok());
    wish.name = None;
    assert!(ask(&viewers, &sign(&secret, &wish, NOW * 1000).unwrap()).is_ok());
    wish.addr = Some("198.51.100.1".to_owned());
    let token = sign(&secret, &wish, NOW * 1000).unwrap();
    assert_eq!(ask(&viewers, &token), Err(Refused::Address));
    assert!(!format!("{secret:?}").contains("thirty"));
}

#[test]
fn without_keys_everybody_may_watch() {
    let viewers = Viewers::new(None).unwrap();
    assert_eq!(ask(&viewers, "anything"), Ok(Pass::FREE));
    assert!(!viewers.need_tokens());
}

#[test]
fn a_public_key_is_read_in_every_form_that_it_has() {
    let bytes: [u8; 32] = std::array::from_fn(|at| 255 - at as u8);
    let plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let der = [
        &[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0][..],
        &bytes,
    ]
    .concat();
    for text in [
        url64(&bytes),
        base64(&bytes, plain),
        format!("{}=", base64(&bytes, plain)),
        base64(&der, plain),
    ] {
        assert_eq!(PublicKey::new(&text), PublicKey::Bytes(bytes), "{text}");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.pem");
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        PublicKey::new(path.to_str().unwrap()).read()
    };
    let pem = |der: &[u8]| {
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            base64(der, plain)
        )
    };
    // 44 bytes end in a group of two.
    let whole = pem(&der).replace("\n-----END", "=\n-----END");
    assert_eq!(read(&whole).unwrap(), bytes);
    for odd in [
        "",
        "words",
        &whole.replace("PUBLIC", "PRIVATE"),
        &whole.replace("MCow", "MCoA"),
    ] {
        let error = read(odd).unwrap_err().to_string();
        assert!(error.starts_with("auth.play_public_key: "), "{error}");
        assert!(error.contains("key.pem: no Ed25519"), "{error}");
    }
    let nowhere = PublicKey::new("/nowhere/key.pem").read().unwrap_err();
    assert!(nowhere.to_string().contains("cannot be read"), "{nowhere}");
}
