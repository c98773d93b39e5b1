//! `collect`: pictures from folders, WebDataset tars and Parquet files become `references`.
