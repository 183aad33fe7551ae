"""Everything that is built, by hvac, from an empty server to a sealed one: `all.py bao|conclave`.

VAULT_ADDR and VAULT_CACERT name the server. The same script runs before the original, so that it asserts Vault's
behaviour and not ours; what only one of them does is behind OURS.
"""

import os
import sys
import time

import hvac
from hvac import exceptions

OURS = sys.argv[1] == "conclave"
client = hvac.Client(url=os.environ["VAULT_ADDR"], verify=os.environ["VAULT_CACERT"])
system = client.sys


def fails(kind, call, *args, says="", **kwargs):
    """The call must fail with this exception and say this."""
    try:
        answer = call(*args, **kwargs)
    except kind as error:
        assert type(error) is kind, f"{type(error)} instead of {kind}: {error}"
        assert says in str(error), f"{says!r} not in {error}"
        return error
    raise AssertionError(f"{call.__name__} succeeded: {answer}")


def is_204(answer):
    assert answer.status_code == 204, answer


def health():
    """The status; hvac gives the body of a 200 instead."""
    answer = system.read_health_status(method="GET")
    return 200 if isinstance(answer, dict) else answer.status_code


def become_leader():
    """Unsealed is not yet leading; a failure beyond the time is the test's."""
    end = time.monotonic() + 60
    while health() != 200:
        assert time.monotonic() < end
        time.sleep(0.05)


def begin():
    assert not system.is_initialized()
    assert system.read_init_status() == {"initialized": False}
    assert system.is_sealed()
    assert health() == 501
    fails(exceptions.InvalidRequest, system.initialize, 2, 5, says="threshold")
    born = system.initialize(secret_shares=3, secret_threshold=2)
    assert len(born["keys"]) == len(born["keys_base64"]) == 3
    fails(exceptions.InvalidRequest, system.initialize, 1, 1, says="already initialized")
    status = system.read_seal_status()
    assert (status["sealed"], status["t"], status["n"], status["progress"]) == (True, 2, 3, 0)
    assert health() == 503
    client.token = born["root_token"]
    fails(exceptions.VaultDown, system.list_policies, says="sealed")
    fails(exceptions.InvalidRequest, system.submit_unseal_key, "zz", says="valid hex or base64")
    assert system.submit_unseal_key(born["keys"][0])["progress"] == 1
    assert system.submit_unseal_key(reset=True)["progress"] == 0
    assert not system.submit_unseal_keys([born["keys"][0], born["keys_base64"][1]])["sealed"]
    become_leader()
    assert client.is_authenticated()
    return born


def node():
    said = system.read_health_status(method="GET")
    assert said["initialized"] and not said["sealed"] and said["cluster_id"]
    assert system.read_health_status(method="HEAD").status_code == 200
    leader = system.read_leader_status()
    assert leader["ha_enabled"] and leader["is_self"]
    assert leader["leader_address"] == os.environ["VAULT_ADDR"]
    assert client.ha_status["is_self"]
    config = system.read_raft_config()["data"]["config"]["servers"]
    assert [(server["node_id"], server["leader"], server["voter"]) for server in config] == [("n1", True, True)]
    nodes = client.read("sys/ha-status")["data"]["nodes"]
    assert nodes[0]["active_node"] and nodes[0]["last_echo"] is None
    assert client.list("sys/version-history")["data"]["keys"] == ["2.7.2"]
    assert client.read("sys/host-info")["data"]["host"]["os"] == "linux"


def mounts():
    assert {"cubbyhole/", "identity/", "sys/"} <= set(system.list_mounted_secrets_engines()["data"])
    is_204(system.enable_secrets_engine("kv", path="one", options={"version": "1"}))
    config = {"max_lease_ttl": "2h", "listing_visibility": "unauth", "audit_non_hmac_request_keys": ["a"]}
    is_204(system.enable_secrets_engine("kv-v2", path="two", description="d", config=config))
    fails(exceptions.InvalidRequest, system.enable_secrets_engine, "kv", path="one", says="already in use")
    fails(exceptions.InvalidRequest, system.enable_secrets_engine, "nosuch", says="not found in the catalog")
    fails(exceptions.InvalidRequest, system.enable_secrets_engine, "kv", path="sys", says="cannot mount")
    mount = system.list_mounted_secrets_engines()["data"]["two/"]
    assert (mount["type"], mount["options"], mount["description"]) == ("kv", {"version": "2"}, "d")
    assert mount["config"]["max_lease_ttl"] == 7200 and mount["config"]["audit_non_hmac_request_keys"] == ["a"]
    assert system.retrieve_mount_option("two", "version") == "2"
    is_204(system.tune_mount_configuration("two", default_lease_ttl="1h", description="e"))
    tuned = system.read_mount_configuration("two")["data"]
    assert (tuned["default_lease_ttl"], tuned["max_lease_ttl"], tuned["description"]) == (3600, 7200, "e")
    fails(exceptions.InvalidRequest, system.tune_mount_configuration, "two", default_lease_ttl="9h", says="less than")
    fails(exceptions.InvalidRequest, system.tune_mount_configuration, "nosuch", description="x", says="no mount entry")
    system.move_backend("one", "uno")
    while "uno/" not in system.list_mounted_secrets_engines()["data"]:
        time.sleep(0.05)
    fails(exceptions.InvalidRequest, system.move_backend, "nosuch", "x", says="no matching mount")
    is_204(system.disable_secrets_engine("nosuch"))
    fails(exceptions.InvalidRequest, system.disable_secrets_engine, "sys", says="cannot unmount")
    assert list(system.list_auth_methods()["data"]) == ["token/"]
    is_204(system.tune_auth_method("token", description="t"))
    assert system.read_auth_method_tuning("token")["data"]["description"] == "t"
    fails(exceptions.InvalidRequest, system.enable_auth_method, "nosuch", says="not found in the catalog")
    is_204(system.disable_auth_method("nosuch"))
    seen = client.adapter.get("/v1/sys/internal/ui/mounts/two")
    assert seen["data"]["path"] == "two/"


READER = 'path "two/data/open/*" { capabilities = ["read"] }\npath "two/metadata/open/*" { capabilities = ["list"] }'


def policies():
    is_204(system.create_or_update_policy("reader", READER))
    assert system.read_policy("reader")["data"]["rules"] == READER
    assert system.read_acl_policy("reader")["data"]["version"] == 1
    assert system.list_policies()["data"]["policies"] == ["default", "reader", "root"]
    assert system.list_acl_policies()["data"]["keys"] == ["default", "reader", "root"]
    fails(exceptions.InvalidRequest, system.create_or_update_policy, "bad", "path {", says="failed to parse policy")
    fails(exceptions.InvalidRequest, system.create_or_update_policy, "root", READER, says="cannot update")
    fails(exceptions.InvalidPath, system.read_policy, "nosuch")
    is_204(system.delete_policy("nosuch"))
    fails(exceptions.InvalidRequest, system.delete_policy, "default", says="cannot delete")


def tokens(root):
    token = client.auth.token
    made = token.create(policies=["reader"], ttl="1h", display_name="ada", meta={"a": "b"})["auth"]
    assert made["policies"] == ["default", "reader"] and made["lease_duration"] == 3600 and made["renewable"]
    data = token.lookup(made["client_token"])["data"]
    assert (data["display_name"], data["meta"], data["path"]) == ("token-ada", {"a": "b"}, "auth/token/create")
    assert token.lookup_accessor(made["accessor"])["data"]["id"] == ""
    assert made["accessor"] in token.list_accessors()["data"]["keys"]
    fails(exceptions.Forbidden, token.lookup, "nosuch", says="bad token")
    fails(exceptions.InvalidRequest, token.lookup_accessor, "nosuch", says="invalid accessor")
    assert token.renew(made["client_token"], increment="30m")["auth"]["lease_duration"] == 1800
    assert token.renew_accessor(made["accessor"])["auth"]["client_token"] == ""
    fails(exceptions.InvalidRequest, token.renew, "nosuch", says="token not found")
    periodic = token.create(policies=["reader"], period="10m", no_parent=True, no_default_policy=True)["auth"]
    assert periodic["policies"] == ["reader"] and periodic["orphan"]
    assert token.renew(periodic["client_token"], increment="1h")["auth"]["lease_duration"] == 600
    bounded = token.create(policies=["reader"], ttl="2h", explicit_max_ttl="1h")
    assert bounded["auth"]["lease_duration"] == 3600 and "exceeded the effective max_ttl" in bounded["warnings"][0]
    fixed = token.create(policies=["reader"], ttl="1h", renewable=False)["auth"]["client_token"]
    fails(exceptions.InvalidRequest, token.renew, fixed, says="not renewable")
    twice = token.create(policies=["reader"], num_uses=2, ttl="1h")["auth"]["client_token"]
    client.token = twice
    token.lookup_self()
    token.lookup_self()
    fails(exceptions.Forbidden, token.lookup_self)
    client.token = made["client_token"]
    assert token.lookup_self()["data"]["policies"] == ["default", "reader"]
    fails(exceptions.Forbidden, token.create, policies=["root"])
    fails(exceptions.Forbidden, system.list_policies)
    assert system.get_capabilities(["two/data/open/a"])["data"]["capabilities"] == ["read"]
    client.token = root
    paths = ["two/data/open/a", "two/data/shut"]
    by_token = system.get_capabilities(paths, token=made["client_token"])["data"]
    assert [by_token[path] for path in paths] == [["read"], ["deny"]]
    by_accessor = system.get_capabilities(paths, accessor=made["accessor"])["data"]
    assert by_accessor["two/data/open/a"] == ["read"]
    orphan = token.create_orphan(policies=["root"], ttl="1h")["auth"]["client_token"]
    client.token = orphan
    child = token.create(policies=["reader"], ttl="1h")["auth"]["client_token"]
    kept = token.create(policies=["reader"], ttl="1h")["auth"]["client_token"]
    client.token = root
    is_204(token.revoke(child))
    is_204(token.revoke_and_orphan_children(orphan))
    fails(exceptions.Forbidden, token.lookup, child, says="bad token")
    assert token.lookup(kept)["data"]["orphan"]
    is_204(token.revoke("nosuch"))
    is_204(token.revoke_accessor(made["accessor"]))
    fails(exceptions.Forbidden, token.lookup, made["client_token"], says="bad token")
    client.token = periodic["client_token"]
    fails(exceptions.Forbidden, token.revoke_self)
    client.token = root


def leases():
    token = client.auth.token.create_orphan(policies=["reader"], ttl="1h")["auth"]["client_token"]
    keys = system.list_leases("auth/token/create-orphan")["data"]["keys"]
    lease = "auth/token/create-orphan/" + keys[0]
    assert system.read_lease(lease)["data"]["ttl"] <= 3600
    fails(exceptions.InvalidRequest, system.read_lease, "nosuch", says="invalid lease")
    fails(exceptions.InvalidRequest, system.renew_lease, "nosuch", says="lease not found")
    is_204(system.revoke_lease(lease))
    fails(exceptions.InvalidRequest, system.read_lease, lease, says="invalid lease")
    is_204(system.revoke_lease("nosuch"))
    fails(exceptions.Forbidden, client.auth.token.lookup, token, says="bad token")
    client.auth.token.create_orphan(policies=["reader"], ttl="1h")
    is_204(system.revoke_prefix("auth/token/create-orphan"))
    fails(exceptions.InvalidPath, system.list_leases, "auth/token/create-orphan")
    is_204(system.revoke_force("auth/token/create-orphan"))


def kv_one():
    kv = client.secrets.kv.v1
    kv.create_or_update_secret("app/a", {"x": "1", "ttl": "1h"}, mount_point="uno")
    read = kv.read_secret("app/a", mount_point="uno")
    assert read["data"] == {"x": "1", "ttl": "1h"} and read["lease_duration"] == 3600 and not read["renewable"]
    assert kv.list_secrets("", mount_point="uno")["data"]["keys"] == ["app/"]
    kv.delete_secret("app/a", mount_point="uno")
    fails(exceptions.InvalidPath, kv.read_secret, "app/a", mount_point="uno")
    fails(exceptions.InvalidPath, kv.list_secrets, "app", mount_point="uno")
    fails(exceptions.InvalidRequest, client.write_data, "uno/app/a", data={}, says="missing data fields")


def kv_two():
    kv = client.secrets.kv.v2
    at = {"mount_point": "two"}
    kv.configure(max_versions=5, cas_required=False, **at)
    assert kv.read_configuration(**at)["data"]["max_versions"] == 5
    assert kv.create_or_update_secret("open/a", {"x": "1"}, cas=0, **at)["data"]["version"] == 1
    mismatch = "check-and-set parameter did not match the current version"
    fails(exceptions.InvalidRequest, kv.create_or_update_secret, "open/a", {"x": "2"}, cas=0, says=mismatch, **at)
    kv.create_or_update_secret("open/a", {"x": "2", "y": "2"}, cas=1, **at)
    read = kv.read_secret_version("open/a", raise_on_deleted_version=True, **at)["data"]
    assert read["data"] == {"x": "2", "y": "2"} and read["metadata"]["version"] == 2
    first = kv.read_secret_version("open/a", version=1, raise_on_deleted_version=True, **at)["data"]["data"]
    assert first == {"x": "1"}
    assert kv.patch("open/a", {"x": "3"}, **at)["data"]["version"] == 3
    assert kv.read_secret_version("open/a", raise_on_deleted_version=True, **at)["data"]["data"] == {"x": "3", "y": "2"}
    fails(exceptions.InvalidPath, kv.patch, "open/nosuch", {"x": "3"}, **at)
    fails(exceptions.InvalidPath, kv.read_secret_version, "open/nosuch", raise_on_deleted_version=True, **at)
    is_204(kv.delete_latest_version_of_secret("open/a", **at))
    fails(exceptions.InvalidPath, kv.read_secret_version, "open/a", raise_on_deleted_version=True, **at)
    gone = kv.read_secret_version("open/a", raise_on_deleted_version=False, **at)["data"]
    assert gone["data"] is None and gone["metadata"]["deletion_time"] and gone["metadata"]["version"] == 3
    is_204(kv.undelete_secret_versions("open/a", [3], **at))
    is_204(kv.delete_secret_versions("open/a", [1], **at))
    is_204(kv.destroy_secret_versions("open/a", [2], **at))
    versions = kv.read_secret_metadata("open/a", **at)["data"]["versions"]
    assert versions["2"]["destroyed"] and versions["1"]["deletion_time"] and not versions["3"]["deletion_time"]
    settings = {"max_versions": 2, "cas_required": True, "delete_version_after": "1h", "custom_metadata": {"o": "p"}}
    is_204(kv.update_metadata("open/a", **settings, **at))
    meta = kv.read_secret_metadata("open/a", **at)["data"]
    assert (meta["max_versions"], meta["cas_required"], meta["delete_version_after"]) == (2, True, "1h0m0s")
    assert meta["custom_metadata"] == {"o": "p"}
    required = "check-and-set parameter required for this call"
    fails(exceptions.InvalidRequest, kv.create_or_update_secret, "open/a", {"x": "4"}, says=required, **at)
    kv.configure(max_versions=1, **at)
    kv.create_or_update_secret("open/a", {"x": "4"}, cas=3, **at)
    kept = sorted(kv.read_secret_metadata("open/a", **at)["data"]["versions"])
    assert kept == ["3", "4"], kept
    assert kv.list_secrets("open", **at)["data"]["keys"] == ["a"]
    subkeys = client.read("two/subkeys/open/a")["data"]["subkeys"]
    assert subkeys == {"x": None}
    fails(exceptions.InvalidRequest, client.write_data, "two/data/open/a", data={"x": 1}, says="no data provided")
    assert client.read("two/open/a") is None
    reader = client.auth.token.create(policies=["reader"], ttl="1h")["auth"]["client_token"]
    root, client.token = client.token, reader
    kv.read_secret_version("open/a", raise_on_deleted_version=True, **at)
    fails(exceptions.Forbidden, kv.read_secret_version, "shut", raise_on_deleted_version=True, **at)
    fails(exceptions.Forbidden, kv.create_or_update_secret, "open/a", {"x": "5"}, cas=4, **at)
    client.token = root
    is_204(kv.delete_metadata_and_all_versions("open/a", **at))
    fails(exceptions.InvalidPath, kv.read_secret_metadata, "open/a", **at)


def cubbyhole():
    client.write_data("cubbyhole/a", data={"x": "1"})
    assert client.read("cubbyhole/a")["data"] == {"x": "1"}
    assert client.list("cubbyhole")["data"]["keys"] == ["a"]
    client.delete("cubbyhole/a")
    assert client.read("cubbyhole/a") is None
    assert client.list("cubbyhole") is None


def keys(born):
    before = system.get_encryption_key_status() if hasattr(system, "get_encryption_key_status") else client.key_status
    system.rotate_encryption_key()
    assert client.key_status["term"] == before["term"] + 1
    if OURS:
        # The original does not route these paths unless its listener is told to.
        nonce = system.start_rekey(secret_shares=3, secret_threshold=2)["nonce"]
        fails(exceptions.InvalidRequest, system.rekey, born["keys"][0], nonce="bad", says="nonce")
        assert system.read_rekey_progress()["started"]
        system.cancel_rekey()
        otp = system.start_root_token_generation()["otp"]
        assert system.read_root_generation_progress()["started"] and otp
        system.cancel_root_generation()
    fails(exceptions.InvalidRequest, client.write_data, "sys/rotate/root/update", data={"key": "00"})


def audit(log):
    assert system.list_enabled_audit_devices()["data"] == {}
    system.disable_audit_device("nosuch")
    if OURS:
        system.enable_audit_device("file", path="log", options={"file_path": log})
        assert list(system.list_enabled_audit_devices()["data"]) == ["log/"]
        assert system.calculate_hash("log", "x")["data"]["hash"].startswith("hmac-sha256:")
        system.disable_audit_device("log")
        assert os.path.getsize(log) > 0


def raft():
    snapshot = system.take_raft_snapshot()
    assert snapshot.status_code == 200 and snapshot.content[:2] == b"\x1f\x8b"
    client.write_data("uno/after", data={"x": "1"})
    is_204(system.restore_raft_snapshot(snapshot.content))
    end = time.monotonic() + 60
    while True:
        try:
            if client.read("uno/after") is None:
                break
        except (exceptions.VaultError, OSError):
            pass
        assert time.monotonic() < end
        time.sleep(0.1)
    become_leader()
    fails(exceptions.InvalidRequest, client.write_data, "sys/storage/raft/remove-peer", data={}, says="no server id")


def transit():
    """Keys that never leave, used in every way hvac knows."""
    is_204(system.enable_secrets_engine("transit"))
    keys = client.secrets.transit
    keys.create_key("k", exportable=True, allow_plaintext_backup=True)
    assert keys.list_keys()["data"]["keys"] == ["k"]
    sealed = keys.encrypt_data("k", plaintext="aGk=")["data"]["ciphertext"]
    assert keys.decrypt_data("k", ciphertext=sealed)["data"]["plaintext"] == "aGk="
    keys.rotate_key("k")
    moved = keys.rewrap_data("k", ciphertext=sealed)["data"]["ciphertext"]
    assert moved.startswith("vault:v2:")
    keys.update_key_configuration("k", min_decryption_version=2, deletion_allowed=True)
    fails(exceptions.InvalidRequest, keys.decrypt_data, "k", ciphertext=sealed, says="too old")
    assert keys.decrypt_data("k", ciphertext=moved)["data"]["plaintext"] == "aGk="
    many = keys.encrypt_data("k", batch_input=[{"plaintext": "aGk="}, {"plaintext": "aG8="}])
    assert len(many["data"]["batch_results"]) == 2
    made = keys.generate_data_key("k", key_type="plaintext", bits=128)["data"]
    assert keys.decrypt_data("k", ciphertext=made["ciphertext"])["data"]["plaintext"] == made["plaintext"]
    hashed = keys.generate_hmac("k", hash_input="aGk=")["data"]["hmac"]
    assert keys.verify_signed_data("k", hash_input="aGk=", hmac=hashed)["data"]["valid"]
    for kind in ["ed25519", "ecdsa-p256", "rsa-2048"]:
        keys.create_key(kind, key_type=kind)
        signed = keys.sign_data(kind, hash_input="aGk=")["data"]["signature"]
        assert keys.verify_signed_data(kind, hash_input="aGk=", signature=signed)["data"]["valid"]
        assert not keys.verify_signed_data(kind, hash_input="aG8=", signature=signed)["data"]["valid"]
    assert list(keys.export_key("k", key_type="hmac-key")["data"]["keys"]) == ["2"]
    backup = keys.backup_key("k")["data"]["backup"]
    refused = exceptions.InvalidRequest if OURS else exceptions.InternalServerError
    fails(refused, keys.restore_key, backup, says="already exists")
    keys.delete_key("k")
    keys.restore_key(backup)
    assert keys.read_key("k")["data"]["latest_version"] == 2
    assert len(keys.generate_random_bytes(n_bytes=5, output_format="hex")["data"]["random_bytes"]) == 10
    assert keys.hash_data("aGk=")["data"]["sum"].startswith("8f4343")


def wrapping():
    """An answer behind a token that can be used once."""
    token = system.wrap({"a": "b"}, ttl=60)["wrap_info"]["token"]
    assert system.unwrap(token)["data"] == {"a": "b"}
    fails(exceptions.InvalidRequest, system.unwrap, token, says="not valid or does not exist")
    made = client.auth.token.create(ttl="1h", wrap_ttl="1m")["wrap_info"]
    assert made["creation_path"] == "auth/token/create" and made["wrapped_accessor"]
    other = hvac.Client(url=client.url, verify=os.environ["VAULT_CACERT"], token=made["token"])
    assert other.sys.unwrap()["auth"]["accessor"] == made["wrapped_accessor"]


def stranger():
    """A client without a token."""
    return hvac.Client(url=client.url, verify=os.environ["VAULT_CACERT"])


def people():
    is_204(system.enable_auth_method("userpass", path="people", config={"max_lease_ttl": "2h"}))
    fails(exceptions.InvalidRequest, system.enable_auth_method, "userpass", path="people", says="already in use")
    userpass = client.auth.userpass
    is_204(userpass.create_or_update_user("Ada", "pw", policies="default", mount_point="people"))
    is_204(userpass.create_or_update_user("eve", "pw", mount_point="people", token_ttl="5m", token_type="batch"))
    assert userpass.list_user(mount_point="people")["data"]["keys"] == ["ada", "eve"]
    assert userpass.read_user("ADA", mount_point="people")["data"]["policies"] == ["default"]
    someone = stranger()
    auth = someone.auth.userpass.login("ada", "pw", mount_point="people")["auth"]
    assert someone.is_authenticated() and auth["metadata"] == {"username": "ada"} and auth["orphan"]
    assert someone.auth.token.lookup_self()["data"]["display_name"] == "people-ada"
    assert someone.auth.token.renew_self()["auth"]["client_token"] == auth["client_token"]
    is_204(userpass.update_password_on_user("ada", "new", mount_point="people"))
    fails(exceptions.InvalidRequest, stranger().auth.userpass.login, "ada", "pw", mount_point="people", says="invalid username")
    other = stranger()
    other.auth.userpass.login("ada", "new", mount_point="people")
    other.logout(revoke_token=True)
    batch = stranger()
    auth = batch.auth.userpass.login("eve", "pw", mount_point="people")["auth"]
    assert auth["client_token"].startswith("b.") and auth["token_type"] == "batch" and not auth["renewable"]
    fails(exceptions.InvalidRequest, batch.auth.token.renew_self, says="batch tokens cannot be renewed")
    is_204(userpass.delete_user("eve", mount_point="people"))
    for _ in range(5):
        fails(exceptions.InvalidRequest, stranger().auth.userpass.login, "ada", "no", mount_point="people")
    fails(exceptions.Forbidden, stranger().auth.userpass.login, "ada", "new", mount_point="people")
    locked = client.read("sys/locked-users")["data"]["by_namespace"][0]["mount_accessors"][0]
    assert locked["alias_identifiers"] == ["ada"]
    client.adapter.post(f"/v1/sys/locked-users/{locked['mount_accessor']}/unlock/ada")
    is_204(system.disable_auth_method("people"))
    fails(exceptions.Forbidden, someone.auth.token.lookup_self)
    fails(exceptions.Forbidden, stranger().auth.userpass.login, "ada", "new", mount_point="people")


def identities():
    identity = client.secrets.identity
    is_204(system.enable_auth_method("userpass", path="staff"))
    is_204(client.auth.userpass.create_or_update_user("ida", "pw", mount_point="staff"))
    accessor = system.list_auth_methods()["data"]["staff/"]["accessor"]
    ida = identity.create_or_update_entity("ida", policies=["reader"], metadata={"team": "red"})["data"]["id"]
    is_204(identity.create_or_update_entity_by_name("ida", metadata={"team": "blue"}, policies=["reader"]))
    alias = identity.create_or_update_entity_alias("ida", ida, accessor)["data"]["id"]
    someone = stranger()
    auth = someone.auth.userpass.login("ida", "pw", mount_point="staff")["auth"]
    assert auth["entity_id"] == ida and auth["identity_policies"] == ["reader"]
    assert someone.secrets.identity.read_entity(ida)["data"]["metadata"] == {"team": "blue"}
    crew = identity.create_or_update_group("crew", policies=["crew"], member_entity_ids=[ida])["data"]["id"]
    assert someone.auth.token.lookup_self()["data"]["identity_policies"] == ["reader", "crew"]
    assert identity.read_entity_by_name("ida")["data"]["group_ids"] == [crew]
    assert identity.read_group(crew)["data"]["member_entity_ids"] == [ida]
    assert identity.read_group_by_name("crew")["data"]["policies"] == ["crew"]
    assert identity.list_groups()["data"]["keys"] == [crew]
    assert identity.list_groups_by_name()["data"]["keys"] == ["crew"]
    assert ida in identity.list_entities()["data"]["keys"]
    assert "ida" in identity.list_entities_by_name()["data"]["keys"]
    assert identity.read_entity_alias(alias)["data"]["canonical_id"] == ida
    assert alias in identity.list_entity_aliases()["data"]["keys"]
    assert identity.lookup_entity(alias_name="ida", alias_mount_accessor=accessor)["data"]["id"] == ida
    assert identity.lookup_group(name="crew")["data"]["id"] == crew
    fails(exceptions.InvalidRequest, identity.create_or_update_group, "bad", policies=["root"], says="cannot contain root")
    outside = identity.create_or_update_group("outside", group_type="external")["data"]["id"]
    named = identity.create_or_update_group_alias("outside", mount_accessor=accessor, canonical_id=outside)["data"]["id"]
    assert identity.read_group_alias(named)["data"]["name"] == "outside"
    assert identity.list_group_aliases()["data"]["keys"] == [named]
    is_204(identity.delete_group_alias(named))
    other = identity.create_or_update_entity("other")["data"]["id"]
    is_204(identity.merge_entities([ida], other))
    assert someone.auth.token.lookup_self()["data"]["identity_policies"] == ["crew"]
    is_204(identity.update_entity(other, disabled=True))
    fails(exceptions.Forbidden, someone.auth.token.lookup_self)
    fails(exceptions.Forbidden, stranger().auth.userpass.login, "ida", "pw", mount_point="staff")
    is_204(identity.delete_entity_alias(alias))
    is_204(identity.delete_group(crew))
    is_204(identity.delete_group_by_name("outside"))
    is_204(client.adapter.post("/v1/identity/entity/batch-delete", json={"entity_ids": [other]}))
    is_204(identity.delete_entity_by_name("nosuch"))
    fails(exceptions.InvalidPath, identity.read_entity, other)
    is_204(system.disable_auth_method("staff"))


def machines():
    is_204(system.enable_auth_method("approle"))
    approle = client.auth.approle
    is_204(approle.create_or_update_approle("app", token_policies=["default"], token_ttl="10m", secret_id_num_uses=2))
    assert approle.list_roles()["data"]["keys"] == ["app"]
    assert approle.read_role("app")["data"]["token_ttl"] == 600
    role_id = approle.read_role_id("app")["data"]["role_id"]
    made = approle.generate_secret_id("app", metadata={"k": "v"})["data"]
    accessor = made["secret_id_accessor"]
    assert approle.list_secret_id_accessors("app")["data"]["keys"] == [accessor]
    assert approle.read_secret_id("app", made["secret_id"])["data"]["metadata"] == {"k": "v"}
    someone = stranger()
    auth = someone.auth.approle.login(role_id, made["secret_id"])["auth"]
    assert auth["metadata"] == {"k": "v", "role_name": "app"} and auth["lease_duration"] == 600
    assert someone.auth.token.renew_self()["auth"]["lease_duration"] == 600
    assert approle.read_secret_id_accessor("app", accessor)["data"]["secret_id_num_uses"] == 1
    stranger().auth.approle.login(role_id, made["secret_id"])
    fails(exceptions.InvalidRequest, stranger().auth.approle.login, role_id, made["secret_id"], says="invalid role or secret ID")
    own = approle.create_custom_secret_id("app", "mine")["data"]
    is_204(approle.destroy_secret_id_accessor("app", own["secret_id_accessor"]))
    fails(exceptions.InvalidRequest, stranger().auth.approle.login, role_id, "mine")
    approle.create_custom_secret_id("app", "mine")
    is_204(approle.destroy_secret_id("app", "mine"))
    is_204(approle.update_role_id("app", "chosen"))
    assert approle.read_role_id("app")["data"]["role_id"] == "chosen"
    is_204(approle.delete_role("app"))
    fails(exceptions.InvalidPath, approle.read_role, "app")
    fails(exceptions.InvalidRequest, someone.auth.token.renew_self) if OURS else None


def token_roles():
    roles = client.auth.token
    is_204(roles.create_or_update_role("app", allowed_policies="default", token_period="1h", orphan=True))
    assert roles.read_role("app")["data"]["token_period"] == 3600
    assert roles.list_roles()["data"]["keys"] == ["app"]
    auth = roles.create(role_name="app", policies=["default"])["auth"]
    assert auth["lease_duration"] == 3600 and auth["orphan"]
    fails(exceptions.InvalidRequest, roles.create, role_name="app", policies=["other"], says="must be subset")
    is_204(roles.delete_role("app"))
    fails(exceptions.InvalidRequest, roles.create, role_name="app", says="unknown role")
    assert roles.create(type="batch", policies=["default"])["auth"]["client_token"].startswith("b.")


def namespaces():
    """Rooms within the server, by header and by path."""
    system.create_namespace("team")
    assert "team/" in system.list_namespaces()["data"]["keys"]
    inner = hvac.Client(url=client.url, verify=os.environ["VAULT_CACERT"], token=client.token, namespace="team")
    inner.sys.enable_secrets_engine("kv", path="uno", options={"version": "1"})
    inner.secrets.kv.v1.create_or_update_secret("a", {"who": "team"}, mount_point="uno")
    assert client.read("team/uno/a")["data"] == {"who": "team"}
    inner.sys.create_or_update_policy("here", 'path "uno/*" { capabilities = ["read"] }')
    made = inner.auth.token.create(policies=["here"], ttl="1h")["auth"]["client_token"]
    own = hvac.Client(url=client.url, verify=os.environ["VAULT_CACERT"], token=made, namespace="team")
    assert own.secrets.kv.v1.read_secret("a", mount_point="uno")["data"] == {"who": "team"}
    assert own.auth.token.lookup_self()["data"]["namespace_path"] == "team/"
    outside = hvac.Client(url=client.url, verify=os.environ["VAULT_CACERT"], token=made)
    fails(exceptions.Forbidden, outside.read, "uno/a")
    fails(exceptions.InvalidRequest, system.create_namespace, "a b", says="contains space characters")
    nowhere = hvac.Client(url=client.url, verify=os.environ["VAULT_CACERT"], token=client.token, namespace="none")
    fails(exceptions.InvalidPath, nowhere.sys.list_mounted_secrets_engines, says="namespace not found")
    assert system.delete_namespace("team")["data"]["status"] == "in-progress"
    gone = (exceptions.Forbidden, exceptions.InvalidPath)
    try:
        raise AssertionError(own.auth.token.lookup_self())
    except gone:
        pass


def unbuilt():
    """What is not built says so."""
    if not OURS:
        return
    calls = [
        (system.enable_auth_method, ["kubernetes"]),
        (client.secrets.identity.create_named_key, ["k"]),
    ]
    for call, args in calls:
        try:
            call(*args)
        except exceptions.VaultError as error:
            assert "unsupported: " in str(error), error
        else:
            raise AssertionError(f"{call.__name__} succeeded")


def end(root):
    client.token = "nosuch"
    fails(exceptions.Forbidden, system.seal)
    client.token = root
    is_204(system.seal())
    assert system.is_sealed()
    fails(exceptions.VaultDown, client.read, "uno/a", says="sealed")


born = begin()
root = born["root_token"]
node()
mounts()
policies()
tokens(root)
leases()
kv_one()
kv_two()
cubbyhole()
keys(born)
audit(sys.argv[2])
raft()
transit()
wrapping()
people()
machines()
identities()
token_roles()
namespaces()
unbuilt()
end(root)
print("done")
