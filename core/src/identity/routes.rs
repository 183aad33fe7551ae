//! The table of paths beneath `identity/`.

use conclave_engine_api::Operation::{self, Delete, List, Read, Update};

use crate::error::Error;
use crate::identity::mfa::{enforcements, enrol, methods};
use crate::identity::{aliases, entities, group_aliases, groups, lookup, merge};
use crate::routes::{Access, Answer, Call, Handler, Route};

const fn rows(
    pattern: &'static str,
    operations: &'static [Operation],
    handler: fn(&mut Call<'_, '_>) -> Result<Answer, Error>,
) -> Route {
    Route {
        pattern,
        operations,
        access: Access::Policy,
        handler: Handler::Rows(handler),
    }
}

/// Everything beneath `identity/`. `alias` and `persona` are older names of `entity-alias`.
pub const ROUTES: &[Route] = &[
    rows("entity", &[Update], entities::write),
    rows("entity/id", &[List], entities::list_ids),
    rows("entity/id/:id", &[Read], entities::read),
    rows("entity/id/:id", &[Update], entities::write),
    rows("entity/id/:id", &[Delete], entities::delete),
    rows("entity/name", &[List], entities::list_names),
    rows("entity/name/*name", &[Read], entities::read),
    rows("entity/name/*name", &[Update], entities::write),
    rows("entity/name/*name", &[Delete], entities::delete),
    rows("entity/batch-delete", &[Update], entities::delete_some),
    rows("entity/merge", &[Update], merge::write),
    rows("entity-alias", &[Update], aliases::write),
    rows("entity-alias/id", &[List], aliases::list),
    rows("entity-alias/id/:id", &[Read], aliases::read),
    rows("entity-alias/id/:id", &[Update], aliases::write),
    rows("entity-alias/id/:id", &[Delete], aliases::delete),
    rows("alias", &[Update], aliases::write),
    rows("alias/id", &[List], aliases::list),
    rows("alias/id/:id", &[Read], aliases::read),
    rows("alias/id/:id", &[Update], aliases::write),
    rows("alias/id/:id", &[Delete], aliases::delete),
    rows("persona", &[Update], aliases::write),
    rows("persona/id", &[List], aliases::list),
    rows("persona/id/:id", &[Read], aliases::read),
    rows("persona/id/:id", &[Update], aliases::write),
    rows("persona/id/:id", &[Delete], aliases::delete),
    rows("group", &[Update], groups::write),
    rows("group/id", &[List], groups::list_ids),
    rows("group/id/:id", &[Read], groups::read),
    rows("group/id/:id", &[Update], groups::write),
    rows("group/id/:id", &[Delete], groups::delete),
    rows("group/name", &[List], groups::list_names),
    rows("group/name/*name", &[Read], groups::read),
    rows("group/name/*name", &[Update], groups::write),
    rows("group/name/*name", &[Delete], groups::delete),
    rows("group-alias", &[Update], group_aliases::write),
    rows("group-alias/id", &[List], group_aliases::list),
    rows("group-alias/id/:id", &[Read], group_aliases::read),
    rows("group-alias/id/:id", &[Update], group_aliases::write),
    rows("group-alias/id/:id", &[Delete], group_aliases::delete),
    rows("lookup/entity", &[Update], lookup::entity),
    rows("lookup/group", &[Update], lookup::group),
    rows("mfa/method", &[List], methods::list),
    rows("mfa/method", &[Read], methods::missing),
    rows("mfa/method/totp", &[List], methods::list),
    rows("mfa/method/totp", &[Update], methods::write),
    rows("mfa/method/totp", &[Read, Delete], methods::missing),
    rows("mfa/method/totp/generate", &[Update], enrol::generate),
    rows("mfa/method/totp/admin-generate", &[Update], enrol::admin_generate),
    rows("mfa/method/totp/admin-destroy", &[Update], enrol::admin_destroy),
    rows("mfa/method/totp/:method_id", &[Read], methods::read),
    rows("mfa/method/totp/:method_id", &[Update], methods::write),
    rows("mfa/method/totp/:method_id", &[Delete], methods::delete),
    rows("mfa/method/duo", &[List, Update], methods::unbuilt),
    rows(
        "mfa/method/duo/:method_id",
        &[Read, Update, Delete],
        methods::unbuilt,
    ),
    rows("mfa/method/okta", &[List, Update], methods::unbuilt),
    rows(
        "mfa/method/okta/:method_id",
        &[Read, Update, Delete],
        methods::unbuilt,
    ),
    rows("mfa/method/pingid", &[List, Update], methods::unbuilt),
    rows(
        "mfa/method/pingid/:method_id",
        &[Read, Update, Delete],
        methods::unbuilt,
    ),
    rows("mfa/method/:method_id", &[Read], methods::read),
    rows("mfa/login-enforcement", &[List], enforcements::list),
    rows("mfa/login-enforcement/:name", &[Read], enforcements::read),
    rows("mfa/login-enforcement/:name", &[Update], enforcements::write),
    rows("mfa/login-enforcement/:name", &[Delete], enforcements::delete),
];
