//! One script a feature; what it must answer stands in the file. `UPDATE_EXPECT=1` writes the answers anew.

use expect_test::expect_file;

use crate::script::run;

macro_rules! script {
    ($($name:ident),* $(,)?) => {$(
        #[test]
        fn $name() {
            let file = concat!("scripts/", stringify!($name), ".txt");
            let script = include_str!(concat!("scripts/", stringify!($name), ".txt"));
            expect_file![file].assert_eq(&run(script));
        }
    )*};
}

script!(
    approle_login,
    approle_roles,
    approle_secret_ids,
    approle_settings,
    aws_creds,
    aws_roles,
    aws_root,
    cubbyhole,
    database_roles,
    kubernetes,
    kv1,
    kv2_config,
    kv2_data,
    kv2_expiry,
    kv2_import,
    kv2_lists,
    kv2_metadata,
    kv2_metadata_patch,
    kv2_patch,
    kv2_subkeys,
    kv2_trimming,
    kv2_versions,
    kv2_wrong_paths,
    rabbitmq,
    ssh,
    transit_crypt,
    transit_keys,
    transit_sign,
    userpass_login,
    userpass_users,
);
