# Every knob of the bake. `make ami` fills in those without a default: region and project from the settings file.

variable "git_sha" {
  description = "Commit the image is baked from; `make ami` adds -dirty when the tree has changes."
  type        = string
  validation {
    condition     = length(var.git_sha) > 0 && regex_replace(var.git_sha, "^[0-9a-f]{7,40}(-dirty)?$", "") == ""
    error_message = "The git_sha must be a commit, with -dirty when files differ from it: run the bake with `make ami`."
  }
}

variable "requirements_sha256" {
  description = "sha256 of requirements.txt; the launcher refuses a code bundle with another one."
  type        = string
  validation {
    condition     = length(var.requirements_sha256) == 64 && regex_replace(var.requirements_sha256, "^[0-9a-f]+$", "") == ""
    error_message = "The requirements_sha256 must be 64 hex digits: run the bake with `make ami`."
  }
}

variable "image_interface" {
  description = "Which code the image's units can start; the launcher refuses another number."
  type        = string
  validation {
    condition     = length(var.image_interface) > 0 && regex_replace(var.image_interface, "^[0-9]+$", "") == ""
    error_message = "The image_interface must be a number: run the bake with `make ami`."
  }
}

variable "torch_version" {
  description = "Version of torch in requirements.txt, for the image's tags."
  type        = string
  validation {
    condition     = length(var.torch_version) > 0 && regex_replace(var.torch_version, "^[0-9]+[.][0-9]+[.][0-9]+([+][a-z0-9]+)?$", "") == ""
    error_message = "The torch_version must look like 2.13.0: run the bake with `make ami`."
  }
}

variable "driver_branch" {
  description = "NVIDIA driver branch of group_vars/all.yml, for the image's tags; none without a driver."
  type        = string
  validation {
    condition     = length(var.driver_branch) > 0 && regex_replace(var.driver_branch, "^([0-9]{3}|none)$", "") == ""
    error_message = "The driver_branch must be a number such as 580, or none."
  }
}

variable "builder_cidr" {
  description = "Address that may reach the builder over SSH: this computer's, as a /32."
  type        = string
  validation {
    condition     = length(var.builder_cidr) > 0 && regex_replace(var.builder_cidr, "^([0-9]{1,3}[.]){3}[0-9]{1,3}/32$", "") == ""
    error_message = "The builder_cidr must be one address, such as 203.0.113.7/32: the builder is closed to all others."
  }
}

variable "project" {
  description = "Value of the tag Project, and the beginning of the image's name."
  type        = string
  validation {
    condition     = length(var.project) > 0 && regex_replace(var.project, "^[a-z0-9](?:[a-z0-9-]{0,18}[a-z0-9])?$", "") == ""
    error_message = "The project must be 1 to 20 of a-z, 0-9 and -, neither first nor last a -, as aws.project_name."
  }
}

variable "region" {
  description = "Region in which the image is made; the instances of a run start there."
  type        = string
  validation {
    condition     = length(var.region) > 0 && regex_replace(var.region, "^[a-z]{2,4}(-[a-z]+)+-[0-9]$", "") == ""
    error_message = "The region must look like us-east-1."
  }
}

variable "instance_type" {
  description = "Type of the builder. It needs no GPU: the driver's modules come ready made."
  type        = string
  default     = "c6i.xlarge"
  validation {
    condition     = length(var.instance_type) > 0 && regex_replace(var.instance_type, "^[a-z][a-z0-9-]*[.][a-z0-9-]+$", "") == ""
    error_message = "The instance_type must look like c6i.xlarge."
  }
}

variable "build_capacity" {
  description = "Market of the builder: spot, or on-demand where spot capacity does not come."
  type        = string
  default     = "spot"
  validation {
    condition     = var.build_capacity == "spot" || var.build_capacity == "on-demand"
    error_message = "The build_capacity must be spot or on-demand."
  }
}

variable "volume_size_gb" {
  description = "Root volume of the image in GB: the system, CUDA and torch take 17, a run's files the rest."
  type        = number
  default     = 40
  validation {
    condition     = var.volume_size_gb >= 25 && var.volume_size_gb <= 1000
    error_message = "The volume_size_gb must be between 25 and 1000."
  }
}

variable "source_ami" {
  description = "Base image by id, for example a Deep Learning AMI; empty takes the newest of source_ami_name and ubuntu_release."
  type        = string
  default     = ""
  validation {
    condition     = regex_replace(var.source_ami, "^ami-[0-9a-f]{8,17}$", "") == ""
    error_message = "The source_ami must look like ami-0123456789abcdef0, or be empty."
  }
}

variable "ubuntu_release" {
  description = "Release of Ubuntu that the image is made of; `make ami UBUNTU=24.04` sets it."
  type        = string
  default     = "22.04"
  validation {
    condition     = contains(["22.04", "24.04"], var.ubuntu_release)
    error_message = "The ubuntu_release must be 22.04 or 24.04: the roles are written for these."
  }
}

variable "source_ami_name" {
  description = "Name pattern of the base image; empty takes Canonical's images of ubuntu_release."
  type        = string
  default     = ""
  validation {
    condition     = var.source_ami_name == "" || length(var.source_ami_name) >= 3
    error_message = "The source_ami_name must be the name of a base image, a pattern of it, or empty."
  }
}

variable "source_ami_owner" {
  description = "Account that owns the base image; the default is Canonical."
  type        = string
  default     = "099720109477"
  validation {
    condition     = length(var.source_ami_owner) > 0 && regex_replace(var.source_ami_owner, "^[0-9]{12}$", "") == ""
    error_message = "The source_ami_owner must be an account number of 12 digits."
  }
}

variable "ssh_timeout" {
  description = "How long the builder may take until it answers over SSH, such as 5m."
  type        = string
  default     = "5m"
  validation {
    condition     = length(var.ssh_timeout) > 0 && regex_replace(var.ssh_timeout, "^[0-9]+[smh]$", "") == ""
    error_message = "The ssh_timeout must be a number with s, m or h, such as 5m."
  }
}

variable "subnet_id" {
  description = "Subnet of the builder; empty takes one of the default VPC."
  type        = string
  default     = ""
  validation {
    condition     = regex_replace(var.subnet_id, "^subnet-[0-9a-f]{8,17}$", "") == ""
    error_message = "The subnet_id must look like subnet-0123456789abcdef0, or be empty."
  }
}

variable "ansible_arguments" {
  description = "Further arguments of ansible-playbook, for example [\"--extra-vars\", \"nvidia_enabled=false\"]."
  type        = list(string)
  default     = []
  validation {
    condition     = length([for argument in var.ansible_arguments : argument if argument == ""]) == 0
    error_message = "The ansible_arguments must not hold an empty one: ansible-playbook would take it for a playbook."
  }
}

variable "output_directory" {
  description = "Directory that receives the versions JSON and the manifest."
  type        = string
  default     = "."
  validation {
    condition     = length(var.output_directory) > 0
    error_message = "The output_directory must be a directory; . is the current one."
  }
}
