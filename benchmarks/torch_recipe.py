"""The reference recipe in PyTorch: torchvision's VGG16, ImageFolder and DataLoader.

python benchmarks/torch_recipe.py PHOTOGRAPHS WEIGHTS.npz EPOCHS FREEZE_LAYERS

PHOTOGRAPHS holds train/CLASS/*.jpg and val/CLASS/*.jpg; WEIGHTS the kernels (HWIO) and biases of
the 13 convolutions, as Keras has them. Frozen layers carry no gradient, so that autograd keeps
nothing of them, and tensors are channels-last, which oneDNN is fastest with.
"""

import sys

import numpy as np
import torch
import torchvision
from torchvision.transforms import v2

BATCH_SIZE, SIZE = 32, 224
MEANS = torch.tensor([123.68, 116.779, 103.939]).reshape(3, 1, 1)


def main(photographs: str, weights: str, epochs: str, freeze_layers: str) -> None:
    """Trains, and prints the figures of each epoch and of the validation split."""
    torch.manual_seed(0)
    train, val = (
        torchvision.datasets.ImageFolder(f"{photographs}/{split}", transform())
        for split in ("train", "val")
    )
    model = build(len(train.classes), weights, int(freeze_layers))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-4, momentum=0.9)
    loss_function = torch.nn.CrossEntropyLoss()
    loader = torch.utils.data.DataLoader(
        train, BATCH_SIZE, shuffle=True, num_workers=1, persistent_workers=True
    )
    for epoch in range(int(epochs)):
        model.train()
        losses = []
        for images, labels in loader:
            optimizer.zero_grad()
            loss = loss_function(model(to_input(images)), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}", flush=True)
    model.eval()
    with torch.inference_mode():
        correct = [
            (model(to_input(images)).argmax(1) == labels).sum().item()
            for images, labels in torch.utils.data.DataLoader(val, BATCH_SIZE)
        ]
    print(f"val_accuracy {sum(correct) / len(val):.4f}")


def transform() -> v2.Transform:
    """Decoded image to RGB, float32 [3, 224, 224] less ImageNet's means."""
    return v2.Compose(
        [
            v2.PILToTensor(),
            v2.CenterCrop(SIZE),
            v2.Lambda(lambda image: image.float() - MEANS),
        ]
    )


def to_input(images: torch.Tensor) -> torch.Tensor:
    """The layout that the convolutions are fastest with."""
    return images.to(memory_format=torch.channels_last)


def build(num_classes: int, weights: str, freeze_layers: int) -> torch.nn.Module:
    """VGG16 with Keras's ImageNet weights and the reference recipe's head."""
    features = torchvision.models.vgg16().features
    convolutions = [layer for layer in features if isinstance(layer, torch.nn.Conv2d)]
    with np.load(weights) as file:
        arrays = [file[name] for name in sorted(file.files)]
    arrays[0] = arrays[0][:, :, ::-1]  # Keras's first kernel takes BGR.
    with torch.no_grad():
        for layer, kernel, bias in zip(convolutions, arrays[::2], arrays[1::2], strict=True):
            layer.weight.copy_(torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()))
            layer.bias.copy_(torch.from_numpy(bias))
    # Keras counts a convolution with its activation as one layer, and the input as another.
    frozen = [layer for layer in features if not isinstance(layer, torch.nn.ReLU)]
    for layer in frozen[: freeze_layers - 1]:
        layer.requires_grad_(False)
    head = [
        torch.nn.Flatten(),
        torch.nn.Linear(512 * 7 * 7, 256),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.5),
        torch.nn.Linear(256, num_classes),
    ]
    return torch.nn.Sequential(features, *head).to(memory_format=torch.channels_last)


if __name__ == "__main__":
    main(*sys.argv[1:])
