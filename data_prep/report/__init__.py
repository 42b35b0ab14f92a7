"""The dataset's report page."""
