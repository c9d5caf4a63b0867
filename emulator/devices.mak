# SPDX-License-Identifier: GPL-2.0-only
#
# The devices that QEMU is built with: the "virt" board with what it cannot do
# without, and virtio devices for tests. Everything else only costs build time.
CONFIG_ARM_VIRT=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_BLK=y
CONFIG_VIRTIO_SERIAL=y
CONFIG_VIRTIO_RNG=y
CONFIG_VIRTIO_BALLOON=y
