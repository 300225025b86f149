"""Puts, lists, gets and deletes objects, in one part and in several, with names that need care.

Usage: s3_client.py URL AUTHORITY; AUTHORITY is the file that vouches for the server, or `none`.
"""

import hashlib
import io
import random
import sys

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

url, authority = sys.argv[1], sys.argv[2]
client = boto3.client(
    "s3",
    endpoint_url=url,
    region_name="us-east-1",
    aws_access_key_id="somebody",
    aws_secret_access_key="whatever-it-is",
    verify=authority if authority != "none" else None,
    config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}, read_timeout=30),
)
BUCKET = "of-the-test"
NAMES = ["plain", "with space", "a+b", "50%", "%41", "ü/é", "a/.b/c", "semi;colon", "q?uery", "ha#sh", "tilde~", "eq=&"]

client.create_bucket(Bucket=BUCKET)
for name in NAMES:
    client.put_object(Bucket=BUCKET, Key=name, Body=name.encode() * 3)
listed = [entry["Key"] for entry in client.list_objects_v2(Bucket=BUCKET)["Contents"]]
wanted = sorted(name for name in NAMES)
assert sorted(listed) == wanted, (sorted(listed), wanted)
for name in NAMES:
    assert client.get_object(Bucket=BUCKET, Key=name)["Body"].read() == name.encode() * 3, name
    assert client.head_object(Bucket=BUCKET, Key=name)["ContentLength"] == len(name.encode()) * 3, name

large = random.Random(1).randbytes(17 * 1024 * 1024 + 5)
config = TransferConfig(multipart_threshold=6 * 1024 * 1024, multipart_chunksize=6 * 1024 * 1024, max_concurrency=3)
client.upload_fileobj(io.BytesIO(large), BUCKET, "large", Config=config)
out = io.BytesIO()
client.download_fileobj(BUCKET, "large", out, Config=config)
assert hashlib.sha256(out.getvalue()).digest() == hashlib.sha256(large).digest()
part = client.get_object(Bucket=BUCKET, Key="large", Range="bytes=1000000-1000009")["Body"].read()
assert part == large[1000000:1000010]

client.copy_object(Bucket=BUCKET, Key="copied there", CopySource={"Bucket": BUCKET, "Key": "with space"})
assert client.get_object(Bucket=BUCKET, Key="copied there")["Body"].read() == b"with space" * 3
for name in [*NAMES, "large", "copied there"]:
    client.delete_object(Bucket=BUCKET, Key=name)
assert "Contents" not in client.list_objects_v2(Bucket=BUCKET)
print("all is well")
