"""Other tools' sweep files (W&B, Ray Tune), translated into hpsearch's keys before anything is checked."""
