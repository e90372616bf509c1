"""Translates specs of other tools (W&B, Ray Tune) into hpsearch's keys, before anything is checked."""
