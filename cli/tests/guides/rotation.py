# A published guide to rotating API keys: its program as it stands there, but for the address and the token.
# Given: the package `schedule`, of which this is enough, and a mount at `secret/`.
import sys
import types


class Every:
    def do(self, job, *args):
        sys.modules["schedule"].jobs.append(lambda: job(*args))


Every.days = Every()
sys.modules["schedule"] = types.ModuleType("schedule")
sys.modules["schedule"].jobs = []
sys.modules["schedule"].every = lambda count: Every

# Automated API key rotation with Vault
import hvac
import schedule
from datetime import datetime
class KeyRotationManager:
    def __init__(self, vault_url, vault_token):
        self.client = hvac.Client(url=vault_url, token=vault_token)
    def rotate_api_key(self, service_name):
        # Generate new key
        import secrets
        new_key = secrets.token_urlsafe(32)
        # Store in Vault with metadata
        self.client.secrets.kv.v2.create_or_update_secret(
            path=f"api-keys/{service_name}",
            secret={
                "api_key": new_key,
                "rotated_at": datetime.utcnow().isoformat(),
                "version": "auto-rotated",
            }
        )
        # Notify dependent services to refresh
        self._notify_services(service_name)
        print(f"Rotated key for {service_name}")
    def get_current_key(self, service_name):
        response = self.client.secrets.kv.v2.read_secret_version(
            path=f"api-keys/{service_name}"
        )
        return response["data"]["data"]["api_key"]
    def _notify_services(self, service_name):
        # Trigger config reload in dependent services
        pass
# Schedule rotation
manager = KeyRotationManager("https://vault:8200", "s.token")
schedule.every(30).days.do(manager.rotate_api_key, "payment-gateway")

# Asked: each round makes another key.
keys = set()
for _ in range(2):
    schedule.jobs[0]()
    keys.add(manager.get_current_key("payment-gateway"))
print("keys:", len(keys))
