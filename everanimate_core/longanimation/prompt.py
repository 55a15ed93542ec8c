"""What Video-XL is asked about the frames, as token ids of Qwen2's tokenizer. The released script asks this."""

# <|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n
PREFIX = (151644, 8948, 198, 2610, 525, 264, 10950, 17847, 13, 151645, 198, 151644, 872, 198)
# \nCan you describe the scene and color in anime?<|im_end|>\n<|im_start|>assistant\n
SUFFIX = (198, 6713, 498, 7512, 279, 6109, 323, 1894, 304, 22809, 30, 151645, 198, 151644, 77091, 198)
