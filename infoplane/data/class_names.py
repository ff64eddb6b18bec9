"""The names of the classes 0, 1, … of the data sets that have some, as they were published."""

from __future__ import annotations

_FASHION = "T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot"
_CIFAR10 = "airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck"
_CIFAR100 = """
    apple, aquarium_fish, baby, bear, beaver, bed, bee, beetle, bicycle, bottle, bowl, boy, bridge, bus,
    butterfly, camel, can, castle, caterpillar, cattle, chair, chimpanzee, clock, cloud, cockroach, couch, crab,
    crocodile, cup, dinosaur, dolphin, elephant, flatfish, forest, fox, girl, hamster, house, kangaroo,
    keyboard, lamp, lawn_mower, leopard, lion, lizard, lobster, man, maple_tree, motorcycle, mountain, mouse,
    mushroom, oak_tree, orange, orchid, otter, palm_tree, pear, pickup_truck, pine_tree, plain, plate, poppy,
    porcupine, possum, rabbit, raccoon, ray, road, rocket, rose, sea, seal, shark, shrew, skunk, skyscraper,
    snail, snake, spider, squirrel, streetcar, sunflower, sweet_pepper, table, tank, telephone, television,
    tiger, tractor, train, trout, tulip, turtle, wardrobe, whale, willow_tree, wolf, woman, worm
"""
# Of the German Traffic Sign Recognition Benchmark (Stallkamp et al., Neural Networks 32, 2012), in the English that
# is usual for its 43 numbers.
_SIGNS = """
    Speed limit (20km/h), Speed limit (30km/h), Speed limit (50km/h), Speed limit (60km/h), Speed limit
    (70km/h), Speed limit (80km/h), End of speed limit (80km/h), Speed limit (100km/h), Speed limit (120km/h),
    No passing, No passing for vehicles over 3.5 metric tons, Right-of-way at the next intersection, Priority
    road, Yield, Stop, No vehicles, Vehicles over 3.5 metric tons prohibited, No entry, General caution,
    Dangerous curve to the left, Dangerous curve to the right, Double curve, Bumpy road, Slippery road, Road
    narrows on the right, Road work, Traffic signals, Pedestrians, Children crossing, Bicycles crossing, Beware
    of ice/snow, Wild animals crossing, End of all speed and passing limits, Turn right ahead, Turn left ahead,
    Ahead only, Go straight or right, Go straight or left, Keep right, Keep left, Roundabout mandatory, End of
    no passing, End of no passing by vehicles over 3.5 metric tons
"""

CLASS_NAMES = {
    name: tuple(" ".join(text.split()).split(", "))
    for name, text in (
        ("fashion-mnist", _FASHION),
        ("cifar10", _CIFAR10),
        ("cifar100", _CIFAR100),
        ("gtsrb", _SIGNS),
    )
}
