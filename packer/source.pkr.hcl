# The builder: which base image, which machine, which disk, who may reach it, what the image is called.

locals {
  stamp      = formatdate("YYYYMMDD-hhmmss", timestamp())
  image_name = "${var.project}-${local.stamp}-${substr(var.git_sha, 0, 7)}"

  # Names of Canonical's images, by release.
  base_images = {
    "22.04" = "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-*"
    "24.04" = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*"
  }

  source_ami_name = var.source_ami_name != "" ? var.source_ami_name : local.base_images[var.ubuntu_release]

  # On the builder, its volume, the image and its snapshot alike; the launcher finds images by these.
  tags = {
    Project            = var.project
    Name               = local.image_name
    GitSha             = var.git_sha
    RequirementsSha256 = var.requirements_sha256
    ImageInterface     = var.image_interface
    TorchVersion       = var.torch_version
    DriverBranch       = var.driver_branch
  }
  image_tags = merge(local.tags, { SourceAmi = "{{ .SourceAMI }}", SourceAmiName = "{{ .SourceAMIName }}" })
}

source "amazon-ebs" "image" {
  region        = var.region
  instance_type = var.instance_type
  # auto: at most the on-demand price. Without it the builder is on-demand.
  spot_price = var.build_capacity == "spot" ? "auto" : null
  subnet_id  = var.subnet_id

  source_ami = var.source_ami
  source_ami_filter {
    filters = {
      name                = local.source_ami_name
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
    owners      = [var.source_ami_owner]
    most_recent = true
  }

  ami_name        = local.image_name
  ami_description = "F1TENTH training: torch ${var.torch_version}, NVIDIA driver ${var.driver_branch}"
  tags            = local.image_tags
  snapshot_tags   = local.image_tags
  run_tags        = local.tags
  run_volume_tags = local.tags
  # No ami_users and no ami_groups: the image is private.

  launch_block_device_mappings {
    device_name           = "/dev/sda1"
    volume_type           = "gp3"
    volume_size           = var.volume_size_gb
    iops                  = 3000
    throughput            = 125
    encrypted             = true
    delete_on_termination = true
  }

  communicator                          = "ssh"
  ssh_username                          = "ubuntu"
  ssh_timeout                           = var.ssh_timeout
  ssh_host                              = var.rehearsal_ssh_host
  ssh_port                              = var.rehearsal_ssh_port
  ssh_private_key_file                  = var.rehearsal_ssh_private_key_file
  temporary_security_group_source_cidrs = [var.builder_cidr]
  shutdown_behavior                     = "terminate"

  custom_endpoint_ec2        = var.rehearsal_endpoint
  skip_region_validation     = local.rehearsal
  skip_metadata_api_check    = local.rehearsal
  skip_credential_validation = local.rehearsal

  # packer>=1.7 begin
  # A spot machine comes from a launch template and a fleet: tagged too, for the policy asks it (docs/permissions.md).
  fleet_tags              = var.build_capacity == "spot" ? local.tags : null
  spot_tags               = var.build_capacity == "spot" ? local.tags : null
  temporary_key_pair_type = "ed25519"
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
  imds_support = "v2.0"
  # packer>=1.7 end
}
