"""Where photographs and labels come from: COCO, labelling tools, class folders, downloads."""
