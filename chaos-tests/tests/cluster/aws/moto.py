"""What moto, a model of AWS, has: asked with boto3, and never through the program under test.

`moto.py ENDPOINT COMMAND ..`; the answer is JSON. Who asks stands in AWS_ACCESS_KEY_ID and so on.
"""

import json
import sys
import urllib.request

import boto3
from botocore.exceptions import ClientError

ENDPOINT, COMMAND, *REST = sys.argv[1:]
BOUNDARY = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
)


def client(service):
    return boto3.client(service, endpoint_url=ENDPOINT, region_name="us-east-1")


def prepare():
    """An administrator, and what roles name. From now on moto knows who asks, and by what right."""
    iam = client("iam")
    iam.create_user(UserName="maker")
    everything = iam.create_policy(PolicyName="everything", PolicyDocument=BOUNDARY)["Policy"]["Arn"]
    iam.attach_user_policy(UserName="maker", PolicyArn=everything)
    iam.create_group(GroupName="readers")
    assumed = iam.create_role(RoleName="deployer", AssumeRolePolicyDocument=BOUNDARY)["Role"]["Arn"]
    iam.attach_role_policy(RoleName="deployer", PolicyArn=everything)
    key = iam.create_access_key(UserName="maker")["AccessKey"]
    reset = urllib.request.Request(f"{ENDPOINT}/moto-api/reset-auth", data=b"0", headers={"Content-Type": "text/plain"})
    urllib.request.urlopen(reset)
    return {
        "access_key": key["AccessKeyId"],
        "secret_key": key["SecretAccessKey"],
        "policy": everything,
        "role": assumed,
    }


def users():
    return sorted(user["UserName"] for user in client("iam").list_users()["Users"])


def describe():
    """All that hangs on a user."""
    iam, name = client("iam"), REST[0]
    user = iam.get_user(UserName=name)["User"]
    inline = iam.list_user_policies(UserName=name)["PolicyNames"]
    return {
        "path": user["Path"],
        "tags": {tag["Key"]: tag["Value"] for tag in iam.list_user_tags(UserName=name)["Tags"]},
        "groups": [group["GroupName"] for group in iam.list_groups_for_user(UserName=name)["Groups"]],
        "attached": [
            policy["PolicyArn"] for policy in iam.list_attached_user_policies(UserName=name)["AttachedPolicies"]
        ],
        "inline": {
            policy: iam.get_user_policy(UserName=name, PolicyName=policy)["PolicyDocument"] for policy in inline
        },
        "keys": keys(name),
    }


def keys(name=None):
    listed = client("iam").list_access_keys(UserName=name or REST[0])
    return sorted(key["AccessKeyId"] for key in listed["AccessKeyMetadata"])


def adorn():
    """What a user with rights on itself may add."""
    client("iam").create_login_profile(UserName=REST[0], Password="a Password 1!")
    return True


def intrude():
    """A second key of a user."""
    return client("iam").create_access_key(UserName=REST[0])["AccessKey"]["AccessKeyId"]


def expel():
    """That key goes again."""
    client("iam").delete_access_key(UserName=REST[0], AccessKeyId=REST[1])
    return True


def whoami():
    return client("sts").get_caller_identity()["Arn"]


def list_users():
    client("iam").list_users()
    return True


def list_groups():
    client("iam").list_groups()
    return True


try:
    print(json.dumps(globals()[COMMAND]()))
except ClientError as error:
    print(json.dumps({"error": error.response["Error"]["Code"]}))
