"""async-hvac does an application's ordinary job: keys and values, policies, tokens, a login by role, wrapping."""

import asyncio
import os

import async_hvac

CA = os.environ["VAULT_CACERT"]


async def main():
    async with async_hvac.AsyncClient(os.environ["VAULT_ADDR"], os.environ["VAULT_TOKEN"], verify=CA) as client:
        assert await client.is_initialized() and not await client.is_sealed()
        assert await client.is_authenticated()
        await client.delete("secret/metadata/async/one")
        await client.write("secret/data/async/one", data={"a": "1"}, options={"cas": 0})
        try:
            await client.write("secret/data/async/one", data={}, options={"cas": 0})
            raise SystemExit("a wrong cas was taken")
        except async_hvac.exceptions.InvalidRequest:
            pass
        assert (await client.read("secret/data/async/one"))["data"]["data"] == {"a": "1"}
        assert await client.read("secret/data/async/none") is None
        assert (await client.list("secret/metadata/async"))["data"]["keys"] == ["one"]
        await client.set_policy("async", 'path "secret/data/async/*" { capabilities = ["read"] }')
        assert "async" in await client.list_policies()
        backends = await client.list_auth_backends()
        if "async/" not in backends["data"]:
            await client.enable_auth_backend("approle", mount_point="async")
        await client.create_role("app", mount_point="async", token_policies="async", token_ttl="10m")
        role = await client.get_role_id("app", mount_point="async")
        secret = (await client.create_role_secret_id("app", mount_point="async"))["data"]["secret_id"]
        async with async_hvac.AsyncClient(os.environ["VAULT_ADDR"], verify=CA) as app:
            login = await app.auth_approle(role, secret, mount_point="async")
            assert login["auth"]["policies"] == ["async", "default"], login
            assert (await app.read("secret/data/async/one"))["data"]["data"] == {"a": "1"}
            try:
                await app.write("secret/data/async/one", data={})
                raise SystemExit("a write was allowed")
            except async_hvac.exceptions.Forbidden:
                pass
            await app.renew_token()
        wrapped = await client.read("secret/data/async/one", wrap_ttl="1m")
        opened = await client.unwrap(wrapped["wrap_info"]["token"])
        assert opened["data"]["data"] == {"a": "1"}
        await client.delete("secret/metadata/async/one")
    print("done")


asyncio.run(main())
