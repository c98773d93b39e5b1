//! How detectors want their pictures.

use super::*;

#[test]
fn sides_are_those_of_transformers() {
    let golden = Golden::open("detection");
    let rows = golden.case("sizes").to_vec2::<i64>().unwrap();
    for row in rows {
        let [height, width, shortest, longest, detr_height, detr_width, yolos_height, yolos_width] =
            <[u32; 8]>::try_from(row.iter().map(|number| u32::try_from(*number).unwrap()).collect::<Vec<_>>()).unwrap();
        for (multiple_of, wanted) in [(1, (detr_width, detr_height)), (16, (yolos_width, yolos_height))] {
            let resize = Resize::Within { shortest, longest, multiple_of };
            match resize.size(width, height) {
                Ok(found) => assert_eq!(found, wanted, "{width}×{height} px, {resize:?}"),
                Err(error) => assert!(wanted.0 == 0 || wanted.1 == 0, "{error}, but {wanted:?}"),
            }
        }
    }
}

#[test]
fn pixels_are_those_of_transformers() {
    let golden = Golden::open("detection");
    let wide = picture(&Golden::open("picture"), "rgb.png");
    let tall = image::imageops::rotate270(&wide);
    for name in ["detr", "conditional_detr", "yolos", "square"] {
        let processor = processor(&golden, name);
        for (which, image) in [("wide", &wide), ("tall", &tall)] {
            let actual = processor.process(image, &Device::Cpu).unwrap();
            let (largest, mean) = levels(&processor, &actual, golden.case(&format!("{name}.{which}")));
            println!("{name} {which}: {largest:.2} levels at most, {mean:.4} on average");
            // The crate's weights have fewer bits than Pillow's: where values lie between two levels, it may take the other one.
            // So do few of them, more where a picture is enlarged, and a fifth where one side is a third.
            let on_average = match (name, which) {
                ("square", "tall") => 0.2,
                ("yolos", _) => 0.04,
                _ => 0.03,
            };
            assert!(largest <= 1.01 && mean <= on_average, "{name} {which}");
        }
    }
}

#[test]
fn published_files_are_understood() {
    let published = |json: &str| config::parse(json.as_bytes());
    // facebook/detr-resnet-50, with a size of one number as old files have it.
    let detr = published(
        r#"{"do_normalize": true, "do_resize": true, "feature_extractor_type": "DetrFeatureExtractor",
            "format": "coco_detection", "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
            "max_size": 1333, "size": 800}"#,
    );
    let silent = published(r#"{"image_processor_type": "DetrImageProcessor"}"#);
    assert_eq!(detr, silent);
    let resize = Resize::Within { shortest: 800, longest: 1333, multiple_of: 1 };
    assert_eq!(detr.unwrap().resize, Some((resize, Filter::Bilinear)));
    let tiny = published(r#"{"image_processor_type": "YolosFeatureExtractor", "size": 512, "max_size": 864}"#).unwrap();
    let resize = Resize::Within { shortest: 512, longest: 864, multiple_of: 16 };
    assert_eq!(tiny.resize, Some((resize, Filter::Bilinear)));
    for (json, wanted) in [
        (r#""size": {"shortest_edge": 800}"#, "supported are a number, {\"shortest_edge\": …, \"longest_edge\": …} or"),
        (r#""size": {"shortest_edge": 0, "longest_edge": 9}"#, "size = 0 leaves no pixels"),
        (r#""pad_size": {"height": 9, "width": 9}"#, "pad_size = {\"height\":9,\"width\":9} is not supported"),
    ] {
        let message = published(&format!("{{\"image_processor_type\": \"DetrImageProcessor\", {json}}}")).unwrap_err();
        assert!(message.contains(wanted), "{message}");
    }
}
