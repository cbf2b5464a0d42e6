//! What the server says that it can do.

use firebrick_core::cloud::{Gestalt, Passing};

pub(super) fn gestalt(websockets: bool) -> Gestalt {
    let list = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    let outside = Some(Passing {
        inband: false,
        outband: true,
    });
    let inside = Some(Passing {
        inband: true,
        outband: false,
    });
    Gestalt {
        id: "firebrick".into(),
        store_types: list(&["meta", "file", "car"]),
        http_endpoints: list(&["/fp"]),
        ws_endpoints: list(if websockets { &["/ws"] } else { &[] }),
        encodings: list(&["JSON"]),
        protocol_capabilities: list(if websockets {
            &["reqRes", "stream"]
        } else {
            &["reqRes"]
        }),
        auth: Vec::new(),
        requires_auth: true,
        data: outside,
        meta: inside,
        wal: None,
        req_types: list(&[
            "reqGestalt",
            "reqOpen",
            "reqClose",
            "bindGetMeta",
            "reqPutMeta",
            "reqPutData",
            "reqGetData",
            "reqDelData",
        ]),
        res_types: list(&[
            "resGestalt",
            "resOpen",
            "resClose",
            "resPutMeta",
            "resPutData",
            "resGetData",
            "resDelData",
        ]),
        event_types: list(&["eventGetMeta"]),
    }
}
