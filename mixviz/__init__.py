"""See, block by block, what saliency-guided mixup does to a pair of pictures."""
