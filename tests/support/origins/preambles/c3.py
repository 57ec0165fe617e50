import logging

import torch

logger = logging.getLogger(__name__)
