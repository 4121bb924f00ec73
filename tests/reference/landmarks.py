"""Runs in the environment of ``requirements-reference.txt``: print MediaPipe's landmarks and blendshapes of pictures.

``python landmarks.py BUNDLE PICTURE…`` prints one JSON object per picture; ``points`` are pixels.
"""

import json
import sys

import mediapipe
from mediapipe.tasks.python import BaseOptions, vision

bundle, *pictures = sys.argv[1:]
options = vision.FaceLandmarkerOptions(
    base_options=BaseOptions(model_asset_path=bundle), output_face_blendshapes=True, num_faces=1
)
with vision.FaceLandmarker.create_from_options(options) as landmarker:
    for picture in pictures:
        image = mediapipe.Image.create_from_file(picture)
        found = landmarker.detect(image)
        points = [[point.x * image.width, point.y * image.height] for point in found.face_landmarks[0]]
        scores = [category.score for category in found.face_blendshapes[0]]
        print(json.dumps({"points": points, "blendshapes": scores}))
