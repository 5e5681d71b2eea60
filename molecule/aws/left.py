"""Print what there is in the account of AWS that the environment leads to, one JSON list for each kind of thing."""

import json

import boto3  # type: ignore[import-untyped]
import jmespath  # type: ignore[import-untyped]

KINDS = {
    "instances": ("ec2", "describe_instances", "Reservations[].Instances[?State.Name != 'terminated'][].InstanceId"),
    "volumes": ("ec2", "describe_volumes", "Volumes[].VolumeId"),
    "addresses": ("ec2", "describe_addresses", "Addresses[].PublicIp"),
    "key pairs": ("ec2", "describe_key_pairs", "KeyPairs[].KeyName"),
    "security groups": ("ec2", "describe_security_groups", "SecurityGroups[?GroupName != 'default'].GroupName"),
    "open ports": ("ec2", "describe_security_groups", "SecurityGroups[?GroupName != 'default'].IpPermissions[]"),
    "roles": ("iam", "list_roles", "Roles[].RoleName"),
    "instance profiles": ("iam", "list_instance_profiles", "InstanceProfiles[].InstanceProfileName"),
    "alarms": ("cloudwatch", "describe_alarms", "MetricAlarms[].AlarmName"),
    "topics": ("sns", "list_topics", "Topics[].TopicArn"),
    "backup plans": ("backup", "list_backup_plans", "BackupPlansList[].BackupPlanName"),
    "backup vaults": ("backup", "list_backup_vaults", "BackupVaultList[].BackupVaultName"),
}

left = {
    kind: jmespath.search(query, getattr(boto3.client(service, "us-east-1"), call)())
    for kind, (service, call, query) in KINDS.items()
}
print(json.dumps(left))  # noqa: T201 - its purpose
