//! `planctl service reload`: another module of the guest, while the service serves.

use super::open;
use crate::failure::Failure;
use crate::options::Global;
use crate::output;
use crate::session::unexpected;
use crate::table::visible;
use clap::Subcommand;
use proto::doc::Doc;
use proto::json::to_json;
use proto::{Reply, Request};

#[derive(Debug, Subcommand)]
pub(crate) enum Service {
    /// Have the service read its guest's module again, and serve it if it is another one
    #[command(
        after_help = "Example:\n  mv shop.wasm ./service/wasm/planck.shop.wasm && planctl service reload --dir ./service\n\n\
                            No request is refused or lost meanwhile. A module that cannot be used is told, and the one before \
                            serves on. Move the file there whole: one that is still being written is refused, or worse, is not."
    )]
    Reload,
}

impl Service {
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        let Service::Reload = self;
        let answer = open(global)?.ask(&Request::ReloadModule)?;
        let Reply::Document(bytes) = answer.reply()? else { return Err(unexpected()) };
        let doc = Doc::parse(bytes).map_err(|_| unexpected())?;
        if global.json {
            return output::print(&to_json(doc));
        }
        let text = |name| doc.get(name).and_then(|v| v.as_str()).map(visible);
        let module = text("module").ok_or_else(unexpected)?;
        let took = doc.get("took_us").and_then(|v| v.as_i64()).ok_or_else(unexpected)?;
        output::note(&match text("before").ok_or_else(unexpected)? {
            before if before == module => {
                format!("the module {module} is as it was, and serves on")
            }
            _ => format!("the module {module} serves, after {} ms", took / 1000),
        });
        Ok(())
    }
}
