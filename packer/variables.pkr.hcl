# Every knob of the bake. `make ami` fills in the first group; the others have the values of most users.

variable "git_sha" {
  description = "Commit the image is baked from; `make ami` adds -dirty when the tree has changes."
  type        = string
}

variable "requirements_sha256" {
  description = "sha256 of requirements.txt; the launcher refuses a code bundle with another one."
  type        = string
  validation {
    condition     = length(var.requirements_sha256) == 64
    error_message = "The requirements_sha256 must be 64 hex digits: run the bake with `make ami`."
  }
}

variable "torch_version" {
  description = "Version of torch in requirements.txt, for the image's tags."
  type        = string
}

variable "driver_branch" {
  description = "NVIDIA driver branch of group_vars/all.yml, for the image's tags; none without a driver."
  type        = string
}

variable "builder_cidr" {
  description = "Address that may reach the builder over SSH: this computer's, as a /32."
  type        = string
  validation {
    condition     = length(var.builder_cidr) > 3 && substr(var.builder_cidr, -3, 3) == "/32"
    error_message = "The builder_cidr must be one address, such as 203.0.113.7/32: the builder is open to nobody else."
  }
}

variable "project" {
  description = "Value of the tag Project, and the beginning of the image's name."
  type        = string
  default     = "f1tenth"
}

variable "region" {
  description = "Region in which the image is made; the instances of a run start there."
  type        = string
  default     = "us-east-1"
  validation {
    condition     = length(split("-", var.region)) >= 3
    error_message = "The region must look like us-east-1."
  }
}

variable "instance_type" {
  description = "Type of the builder. It needs no GPU: the driver's modules come ready made."
  type        = string
  default     = "c6i.xlarge"
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
  description = "Base image by id, for example a Deep Learning AMI; empty takes the newest of source_ami_name."
  type        = string
  default     = ""
}

variable "source_ami_name" {
  description = "Name pattern of the base image: Ubuntu 22.04 by default."
  type        = string
  default     = "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-*"
}

variable "source_ami_owner" {
  description = "Account that owns the base image; the default is Canonical."
  type        = string
  default     = "099720109477"
  validation {
    condition     = length(var.source_ami_owner) == 12
    error_message = "The source_ami_owner must be an account number of 12 digits."
  }
}

variable "subnet_id" {
  description = "Subnet of the builder; empty takes one of the default VPC."
  type        = string
  default     = ""
}

variable "ansible_arguments" {
  description = "Further arguments of ansible-playbook, for example [\"--extra-vars\", \"nvidia_enabled=false\"]."
  type        = list(string)
  default     = []
}

variable "output_directory" {
  description = "Directory that receives the versions JSON and the manifest."
  type        = string
  default     = "."
}
