//! W3C Trace Context, level 1: what a request says of the trace it belongs to, and what its answer says. Knows identifiers, no
//! spans; `tracestate` is text of others' making and left alone.

use http::{HeaderMap, HeaderValue};

use conclave_raft::meter::TRACES;

/// The header of a request.
const TRACEPARENT: &str = "traceparent";
/// The header of an answer, as level 2 drafts it.
pub const TRACERESPONSE: &str = "traceresponse";

/// One span of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; never 0.
    pub trace: u128,
    /// The span; never 0.
    pub span: u64,
    /// Whether spans of this trace are kept.
    pub sampled: bool,
}

impl TraceContext {
    /// `00-TRACE-SPAN-FLAGS` in lower-case hexadecimal; `None` for anything else, which is as if there were none. A later version
    /// may have more behind it.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let mut number = |digits: usize| {
            let part = parts.next()?;
            let lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            (part.len() == digits && part.bytes().all(lower)).then_some(part)
        };
        let (version, trace, span, flags) = (number(2)?, number(32)?, number(16)?, number(2)?);
        if version == "ff" || version == "00" && parts.next().is_some() {
            return None;
        }
        let context = Self {
            trace: u128::from_str_radix(trace, 16).ok()?,
            span: u64::from_str_radix(span, 16).ok()?,
            sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1,
        };
        (context.trace != 0 && context.span != 0).then_some(context)
    }

    /// The other way.
    pub fn text(&self) -> String {
        format!(
            "00-{:032x}-{:016x}-{:02x}",
            self.trace,
            self.span,
            u8::from(self.sampled)
        )
    }
}

/// A request that may be traced.
pub struct Traced {
    own: TraceContext,
    /// The caller's span; 0 if there is none.
    parent: u64,
}

impl Traced {
    /// What the headers say, with a span of our own beneath; a trace that begins here is kept if it is one of `one_in`.
    pub fn of(headers: &HeaderMap, one_in: u64) -> Self {
        let text = headers.get(TRACEPARENT).and_then(|text| text.to_str().ok());
        let random = random();
        let span = (random as u64).max(1);
        match text.and_then(TraceContext::parse) {
            Some(caller) => Self {
                own: TraceContext { span, ..caller },
                parent: caller.span,
            },
            None => Self {
                own: TraceContext {
                    trace: random.rotate_left(64).max(1),
                    span,
                    sampled: span.is_multiple_of(one_in.max(1)),
                },
                parent: 0,
            },
        }
    }

    /// Its span; none if its trace is not kept. `method` is one of a closed set.
    pub fn span(&self, transport: &'static str, method: &'static str) -> tracing::Span {
        if !self.own.sampled {
            return tracing::Span::none();
        }
        tracing::trace_span!(
            target: TRACES,
            "request",
            trace_id = self.own.trace,
            span_id = self.own.span,
            parent_id = self.parent,
            transport,
            method,
            status = tracing::field::Empty,
        )
    }

    /// What the answer says.
    pub fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.own.text()).ok()
    }
}

/// From the operating system; names of spans need not be secret, only different.
pub fn random() -> u128 {
    let mut bytes = [0; 16];
    // Without randomness all spans of this moment have one name: nothing worse.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u128::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    /// The rows of <https://www.w3.org/TR/trace-context/#traceparent-header>, and what is none.
    #[test]
    fn what_a_request_says_is_taken_or_left() {
        let text = format!("00-{TRACE}-{SPAN}-01");
        let context = TraceContext::parse(&text).unwrap();
        assert_eq!((context.text(), context.sampled), (text, true));
        for (text, taken) in [
            (format!("00-{TRACE}-{SPAN}-00"), Some(false)),
            (format!("00-{TRACE}-{SPAN}-03"), Some(true)),
            (format!("cc-{TRACE}-{SPAN}-01-what-comes"), Some(true)),
            (format!("00-{TRACE}-{SPAN}-01-x"), None),
            (format!("ff-{TRACE}-{SPAN}-01"), None),
            (format!("00-{}-{SPAN}-01", "0".repeat(32)), None),
            (format!("00-{TRACE}-{}-01", "0".repeat(16)), None),
            (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None),
            (format!("00-{TRACE}-{SPAN}"), None),
            ("00-é-x-01".to_owned(), None),
            (String::new(), None),
        ] {
            let context = TraceContext::parse(&text);
            assert_eq!(context.map(|context| context.sampled), taken, "{text}");
        }
    }

    #[test]
    fn a_request_goes_on_with_its_trace_or_begins_one() {
        let mut headers = HeaderMap::new();
        let begun = Traced::of(&headers, 1);
        assert!(begun.own.sampled && begun.parent == 0);
        assert!(!Traced::of(&headers, u64::MAX).own.sampled, "one in very many");
        headers.insert(
            TRACEPARENT,
            HeaderValue::from_str(&format!("00-{TRACE}-{SPAN}-01")).unwrap(),
        );
        let joined = Traced::of(&headers, u64::MAX);
        assert_eq!(
            format!("{:032x}-{:016x}", joined.own.trace, joined.parent),
            format!("{TRACE}-{SPAN}")
        );
        assert_ne!(joined.own.span, joined.parent);
        assert!(
            joined
                .header()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with(&format!("00-{TRACE}-"))
        );
    }
}
