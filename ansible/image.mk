# The image: included by the Makefile, which has PY, TEST_STAMP and the shell's settings.
#   make molecule ROLE=trainer        one role        make ami ARGS="--on-demand --region us-east-2"
ROLES := trainer python_env base monitoring nvidia sysprep
BIN := $(abspath .venv/bin)
IMAGE_ENV := PATH="$(BIN):$$PATH" CONTAINERS_CONF="$(abspath tests/image/containers.conf)" PYTHONWARNINGS=ignore
SYSTEM_PACKAGES := packer podman mmdebstrap arch-test uidmap runc netavark aardvark-dns openssh-client iproute2 \
	iptables nftables
MOLECULE := molecule --base-config molecule/base.yml
# The names of these tests keep them out of `make check`: they need containers and minutes.
CONTAINER_PYTEST = $(IMAGE_ENV) $(PY) -m pytest -c /dev/null --noconftest --rootdir tests/image --import-mode=prepend \
	-p no:cacheprovider -q -s --durations=5

.PHONY: system-packages
system-packages: # What containers, Packer and the stand-in root need from Debian
	@missing=$$(for p in $(SYSTEM_PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ]; then echo "Run this, then make again: sudo apt-get install" $$missing; exit 1; fi; \
	export DEBIAN_FRONTEND=noninteractive; apt-get update -q >/dev/null; \
	apt-get install -qy --no-install-recommends $$missing >/dev/null

.PHONY: test-root
test-root: $(TEST_STAMP) system-packages # The root that boots systemd in a container, built once
	@$(IMAGE_ENV) $(PY) tests/image/rootfs.py

.PHONY: lint-ansible
lint-ansible: $(TEST_STAMP) ## Lint the roles, production profile, and the Packer files
	cd ansible && $(IMAGE_ENV) ansible-lint --offline --profile production
	@if command -v packer >/dev/null; then packer fmt -check packer; fi

.PHONY: molecule
molecule: test-root ## Try every role in a container, two at a time (ROLE=trainer for one)
	@image=$$($(IMAGE_ENV) $(PY) tests/image/rootfs.py); mkdir -p .cache/image/logs; \
	run() { $(IMAGE_ENV) F1TENTH_TEST_IMAGE=$$image $(MOLECULE) test -s $$1; }; cd tests; \
	if [ -n '$(ROLE)' ]; then run $(ROLE); exit; fi; \
	export -f run; printf '%s\n' $(ROLES) | xargs -P 2 -I {} bash -c \
		'run {} >../.cache/image/logs/{}.log 2>&1 && echo "{}: passed" || { echo "{}: FAILED"; tail -n 60 ../.cache/image/logs/{}.log; exit 1; }'

.PHONY: molecule-nvidia
molecule-nvidia: test-root ## Try the nvidia role with Debian's own driver packages: 5 GB, once
	@image=$$($(IMAGE_ENV) $(PY) tests/image/rootfs.py); cd tests; \
	$(IMAGE_ENV) F1TENTH_TEST_IMAGE=$$image F1TENTH_NVIDIA_REAL=1 F1TENTH_NVIDIA_BRANCH=535 $(MOLECULE) test -s nvidia

.PHONY: ami
ami: $(TEST_STAMP) ## Bake the AMI: validate, say the cost, build, prune (costs money; ARGS="--on-demand")
	$(IMAGE_ENV) $(PY) packer/ami.py build $(ARGS)

.PHONY: ami-rehearsal
ami-rehearsal: test-root ## Bake without AWS: packer, SSH, the whole site; leaves .cache/image/baked.tar
	$(CONTAINER_PYTEST) tests/image/bake_failures.py tests/image/bake_rehearsal.py
