// node-vault does an application's ordinary job: login by role, keys and values, wrapping, policies, tokens.
"use strict";
const assert = require("node:assert");
const fs = require("node:fs");
const requestOptions = { ca: fs.readFileSync(process.env.VAULT_CACERT) };
const client = require("node-vault")({ requestOptions });

async function refused(call, status) {
  await assert.rejects(call, (error) => error.response && error.response.statusCode === status);
}

async function main() {
  const status = await client.status();
  assert.ok(status.initialized && !status.sealed);
  await client.delete("secret/metadata/node/one");
  await client.write("secret/data/node/one", { data: { a: "1" }, options: { cas: 0 } });
  await refused(client.write("secret/data/node/one", { data: {}, options: { cas: 0 } }), 400);
  assert.deepStrictEqual((await client.read("secret/data/node/one")).data.data, { a: "1" });
  assert.deepStrictEqual((await client.list("secret/metadata/node")).data.keys, ["one"]);
  await refused(client.read("secret/data/node/none"), 404);
  await client.addPolicy({ name: "node", policy: 'path "secret/data/node/*" { capabilities = ["read"] }' });
  const mounts = await client.auths();
  if (!mounts.data["node/"]) {
    await client.enableAuth({ mount_point: "node", type: "approle" });
  }
  await client.addApproleRole({ mount_point: "node", role_name: "app", policies: "node", token_ttl: 600 });
  const role_id = (await client.getApproleRoleId({ mount_point: "node", role_name: "app" })).data.role_id;
  const secret_id = (await client.getApproleRoleSecret({ mount_point: "node", role_name: "app" })).data.secret_id;
  const app = require("node-vault")({ token: "", requestOptions });
  await app.approleLogin({ mount_point: "node", role_id, secret_id });
  assert.deepStrictEqual((await app.read("secret/data/node/one")).data.data, { a: "1" });
  await refused(app.write("secret/data/node/one", { data: {} }), 403);
  await app.tokenRenewSelf();
  assert.deepStrictEqual((await app.tokenLookupSelf()).data.policies, ["default", "node"]);
  await app.tokenRevokeSelf();
  await refused(app.read("secret/data/node/one"), 403);
  await client.delete("secret/metadata/node/one");
  console.log("done");
}

main().catch((error) => {
  console.error(error.stack, error.response && error.response.statusCode);
  process.exit(1);
});
