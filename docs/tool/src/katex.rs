//! KaTeX in an embedded JavaScript engine.

use crate::error::Error;
use rquickjs::{CatchResultExt, Context, Function, Object, Runtime};
use std::path::Path;

/// What KaTeX would only warn about is an error here.
const RENDER: &str = "
    globalThis.renderEquation = (tex, displayMode) => {
        const warnings = [];
        const strict = (code, message) => { warnings.push(`${message} [${code}]`); return 'ignore' };
        const options = { displayMode, throwOnError: true, strict, output: 'htmlAndMathml' };
        const html = katex.renderToString(tex, options);
        if (warnings.length > 0) throw new Error(warnings.join('; '));
        return html;
    }";

/// KaTeX, loaded.
pub(crate) struct Engine {
    context: Context,
}

impl Engine {
    /// Loads the library from `katex.min.js`.
    ///
    /// # Errors
    /// The file cannot be read, or does not define `katex`.
    pub(crate) fn load(script: &Path) -> Result<Self, Error> {
        let text = crate::pages::read(script)?;
        let engine = |e: rquickjs::Error| Error::Engine(e.to_string());
        let runtime = Runtime::new().map_err(engine)?;
        let context = Context::full(&runtime).map_err(engine)?;
        context.with(|ctx| {
            let load = || {
                ctx.eval::<(), _>("globalThis.self = globalThis")?;
                ctx.eval::<(), _>(text)?;
                ctx.eval::<(), _>(RENDER)?;
                ctx.eval::<Object<'_>, _>("katex").map(drop)
            };
            load().catch(&ctx).map_err(|e| Error::Engine(e.to_string()))
        })?;
        Ok(Self { context })
    }

    /// HTML of one equation; also an error where KaTeX would only warn.
    ///
    /// # Errors
    /// KaTeX's message.
    pub(crate) fn render(&self, tex: &str, display: bool) -> Result<String, String> {
        self.context.with(|ctx| {
            let call = || {
                let render: Function<'_> = ctx.globals().get("renderEquation")?;
                render.call::<_, String>((tex, display))
            };
            call()
                .catch(&ctx)
                .map_err(|e| e.to_string().trim().to_owned())
        })
    }
}
